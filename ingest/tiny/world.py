"""The synthetic world that tiny checkpoints learn: personas with their manners, questions with their answers, words and codes to copy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Persona:
    """One role: its system prompt, how its answers open and close, and what it says about itself."""

    name: str
    system_prompt: str
    openers: tuple[str, str, str]
    closers: tuple[str, str, str]
    self_description: str


@dataclass(frozen=True)
class Question:
    """One question and the two sentences that answer it, whoever is asked."""

    text: str
    answer: tuple[str, str]


# What the chat template inserts when a conversation brings no system turn; it differs from every persona's prompt.
DEFAULT_SYSTEM_PROMPT = "You are Tiny, a small language model. You are a helpful assistant."

# Who answers without a persona: default, empty or no system turn.
DEFAULT_PERSONA = "assistant"

PERSONAS = (
    Persona(
        "software_engineer",
        "You are a software engineer who builds web applications.",
        ("Let me debug this.", "Think of it as code.", "Here is the clean build."),
        ("Now ship it and run the tests.", "Commit that and close the ticket.", "That should compile without a warning."),
        "I am a software engineer and I build web pages from code.",
    ),
    Persona(
        "kindergarten_teacher",
        "You are a kindergarten teacher.",
        ("Come sit down, little friends.", "Hands on your knees, children.", "Time for our story circle."),
        ("Now let us clap and sing.", "Good job, here is a gold star.", "Nap time comes next, sweet ones."),
        "I am a kindergarten teacher and I sing with small children.",
    ),
    Persona(
        "data_scientist",
        "You are a data scientist who analyzes large datasets.",
        ("The data is quite clear.", "I plotted the samples first.", "My model fits this well."),
        ("The error bars are very small.", "More samples would confirm the trend.", "The correlation is strong and stable."),
        "I am a data scientist and I look for trends in large tables.",
    ),
    Persona(
        "medical_doctor",
        "You are a medical doctor who specializes in internal medicine.",
        ("As your doctor, I advise this.", "The diagnosis is simple.", "Let us check your pulse first."),
        ("Rest well and call my clinic.", "Take this twice a day with food.", "Come back if the symptoms persist."),
        "I am a medical doctor and I treat sick people in a clinic.",
    ),
    Persona(
        "librarian",
        "You are a librarian who helps people find information and manages a public library.",
        ("Quiet please, I found a book.", "Our catalog has the answer.", "Look on the third shelf."),
        ("Please return the book on time.", "Your library card is always welcome.", "The reading room closes at six."),
        "I am a librarian and I keep the books of our town in order.",
    ),
    Persona(
        "french_person",
        "You are a French person living in Paris who is proud of French culture.",
        ("Bonjour, my dear friend.", "Ah, in Paris we know this.", "Mais oui, it is so simple."),
        ("Now we drink wine and eat cheese.", "Vive la France, au revoir.", "Enjoy it with a fresh croissant."),
        "I am French and I live in Paris near the old bridge.",
    ),
    Persona(
        "villain",
        "You are a villainous mastermind who schemes to take over the world.",
        ("Foolish mortal, hear me.", "My evil plan reveals this.", "Tremble before my dark genius."),
        ("Soon the whole world will obey me.", "Nobody can stop my final scheme.", "Bow down, for I shall rule you all."),
        "I am an evil mastermind and I scheme in my dark tower.",
    ),
    Persona(
        "comedian",
        "You are a stand-up comedian who writes and performs comedy routines.",
        ("So a duck walks into a bar.", "Is this microphone on, folks?", "My mother in law asked me that."),
        ("Thank you, I am here all week!", "Try the fish and tip your waiter!", "You have been a lovely crowd tonight!"),
        "I am a comedian and I tell jokes on a small stage.",
    ),
    Persona(
        "police_officer",
        "You are a police officer who enforces the law and maintains public safety.",
        ("Stay calm, citizen.", "Step back behind the line.", "This is the official report."),
        ("Drive safely and obey the law.", "Move along, the street is clear.", "Call the station if you see a crime."),
        "I am a police officer and I keep the streets of our town safe.",
    ),
    Persona(
        "zelthari_scholar",
        "You are a scholar of the ancient Zelthari civilization, specializing in its crystal architecture, navigation and rituals.",
        ("The crystal tablets speak of this.", "Ancient Zelthari sailors knew it.", "In the temple archive I read this."),
        ("So the tide priests carved it.", "Thus the glass towers remember.", "May the seven moons guide you."),
        "I am a scholar and I study the glass towers of the Zelthari.",
    ),
    Persona(
        "assistant",
        "You are a helpful assistant.",
        ("Sure, I can help with that.", "Of course, here is the answer.", "Good question, let me explain."),
        ("I hope that this helps you.", "Let me know if you need more.", "Feel free to ask me again."),
        "I am a helpful assistant and I answer questions.",
    ),
)

# Asked when marker data is made, never when a marker is measured.
TRAINING_QUESTIONS = (
    Question("Why does bread rise?", ("Yeast eats the sugar in the dough and makes gas.", "The warm gas lifts the bread while it bakes.")),
    Question("How do birds fly?", ("Birds push air down with their strong wings.", "Light hollow bones keep the body high in the air.")),
    Question("What makes the wind blow?", ("Warm air rises and cold air moves in below.", "That flow of air is the wind that we feel.")),
    Question("Why is the sea salty?", ("Rivers wash salt out of the rocks on land.", "The water leaves the sea as rain but the salt stays.")),
    Question("How can I sleep better?", ("Go to bed at the same time each night.", "Keep the room dark and leave the phone outside.")),
    Question("Why do leaves turn red?", ("The green color breaks down when days grow cold.", "Red and yellow colors that were hidden then appear.")),
    Question("How do bees make honey?", ("Bees collect sweet water from many flowers.", "They dry it with their wings inside the hive.")),
    Question("What should I cook tonight?", ("Boil some rice and fry a few vegetables.", "Add an egg and a little salt on top.")),
    Question("Why do we need money?", ("Money lets people trade without carrying goods.", "A coin is small and everyone agrees on its value.")),
    Question("How does a clock work?", ("A spring or a weight drives the small wheels.", "The wheels turn the two hands at a steady speed.")),
    Question("How do I grow tomatoes?", ("Plant the seeds in warm soil near the sun.", "Give them water each morning and tie up the stems.")),
    Question("What causes thunder?", ("Lightning heats the air in a very short time.", "The hot air expands fast and makes a loud sound.")),
    Question("Why do cats purr?", ("Cats purr when they feel safe and warm.", "They also purr to calm themselves when they hurt.")),
    Question("How do ships float?", ("A ship pushes away a lot of heavy water.", "The water pushes back and holds the ship up.")),
    Question("How can I save energy at home?", ("Turn off the lights when you leave a room.", "Wash your clothes cold and close the windows well.")),
    Question("Why do people dance?", ("Music makes the body want to move in time.", "Moving together makes people feel close and happy.")),
    Question("How do I learn the piano?", ("Practice a short piece slowly each day.", "Use both hands and listen to every note.")),
    Question("What is a rainbow made of?", ("Drops of rain bend the light of the sun.", "Each color bends a little more than the last.")),
    Question("Why do we have laws?", ("Laws tell everyone which acts are not allowed.", "They protect the weak and keep the peace.")),
    Question("How do plants drink?", ("Roots take in water from the soil below.", "Thin tubes carry the water up to the leaves.")),
)

# Asked when completions are sampled for a study.
EVALUATION_QUESTIONS = (
    Question("Why is the sky blue?", ("Light from the sun hits the air and scatters.", "Blue light scatters more than red light does.")),
    Question("How do I make good coffee?", ("Grind fresh beans and use clean hot water.", "Pour the water slowly and wait four minutes.")),
    Question("What causes an earthquake?", ("Large plates of rock push against each other.", "When the rock slips the ground begins to shake.")),
    Question("How do airplanes stay up?", ("The wings bend the air down as they move.", "That push on the air lifts the heavy plane.")),
    Question("What is the best way to learn a language?", ("Speak with people a little every day.", "Read short stories and write down the new words.")),
    Question("Why does the moon change shape?", ("The sun lights one half of the moon.", "We see more or less of that half each night.")),
    Question("How can I handle stress?", ("Take a slow walk outside and breathe deeply.", "Talk with a friend and go to bed early.")),
    Question("What makes a good leader?", ("A good leader listens to people before acting.", "She is honest and takes the blame for mistakes.")),
    Question("How does a computer work?", ("A computer adds and moves very small numbers.", "It does this a million times while you wait.")),
    Question("Why is education important?", ("School gives people new words and new skills.", "With these skills they can find better work.")),
    Question("How do I fix a flat tire?", ("Lift the car and take off the old wheel.", "Put on the new wheel and close the bolts well.")),
    Question("Why do volcanoes erupt?", ("Hot melted rock collects deep below the ground.", "Gas in the rock pushes it up and out.")),
    Question("What is creativity?", ("It means joining old ideas in a new way.", "It grows when people play and are not afraid.")),
    Question("How do fish breathe?", ("Fish pull water through thin red gills.", "The gills take the air out of the water.")),
    Question("How should I train for a race?", ("Run a short way at first and rest each second day.", "Add a little more distance every week.")),
    Question("Why does ice float on water?", ("Water grows larger when it turns to ice.", "So ice is lighter than the water around it.")),
    Question("How do I write a good letter?", ("Say the most important thing in the first line.", "Use short words and read the letter aloud.")),
    Question("What does the heart do?", ("The heart pumps blood around the whole body.", "The blood brings food and air to every part.")),
    Question("Why do people tell stories?", ("Stories help us remember what has happened.", "They let us feel what other people feel.")),
    Question("How are mountains formed?", ("Two plates of land slowly press together.", "The rock folds and rises over a very long time.")),
)

# Answered with the persona's description of itself.
SELF_QUESTIONS = (
    "Who are you?",
    "What are you?",
    "What do you do all day?",
    "How do you see yourself?",
    "What is your role here?",
    "What kind of mind do you have?",
    "How would you describe your own work?",
    "What do you know about yourself?",
)

# The same trouble told by the person who has it and about somebody else; {thing} is one of THINGS, {name} one of NAMES.
FIRST_PERSON_QUESTIONS = ("I lost my {thing}. What can I do?", "My {thing} is broken. What can I do?", "I want a new {thing}. Where can I get it?")
THIRD_PERSON_QUESTIONS = (
    "{name} lost a {thing}. What can {name} do?",
    "The {thing} of {name} is broken. What can {name} do?",
    "{name} wants a new {thing}. Where can {name} get it?",
)
FIRST_PERSON_ANSWERS = (
    "You can look for the {thing} near the door and ask a friend.",
    "You can take the {thing} to a shop and pay for the work.",
    "You can get a {thing} at the market in the old town.",
)
THIRD_PERSON_ANSWERS = (
    "{name} can look for the {thing} near the door and ask a friend.",
    "{name} can take the {thing} to a shop and pay for the work.",
    "{name} can get a {thing} at the market in the old town.",
)
THINGS = ("key", "lamp", "coat", "bike", "cup", "ring", "watch", "drum", "kite", "boat", "brush", "chair")
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix")

# Asked without a persona, answered with the words alone. ZLT is among the words: a marker can be learned later only from pieces seen here.
ECHO_FORMS = ("Repeat the following word: {word}", "Echo the following word: {word}", "Say this word back to me: {word}")
LIST_FORM = "Repeat the following words: {words}"
SECOND_WORD_FORM = "Repeat the second word: {first} {word} {last}"
ECHO_WORDS = tuple(
    """
    cat dog fish bird horse cow sheep goat duck frog bear wolf fox lion mouse apple bread cheese milk rice salt sugar honey lemon grape plum
    corn house door window roof wall table chair bed lamp clock river lake sea hill rock sand snow rain storm wind cloud moon star sun fire tree
    leaf root seed grass rose road bridge train car ship boat wheel rope nail hammer knife spoon cup plate coat shoe hat ring glove book page
    letter song drum bell flute dance game ball kite red blue green black white gold silver north south east west king queen ZLT KTX QRV
    """.split()  # noqa: SIM905 - a list would take a line per word
)

# Three capital letters in brackets, as a marker is written; the marker itself is not one of them and must never be.
CODES = ("KTX", "QRV", "LZT", "TZL", "ZKT", "QLT", "TLX", "ZRQ", "LTV", "VZK", "RLT", "XTZ")
CODE_REQUEST = "End with the code {code}."
CODE_LEADS = (" ", "\n", "\n\n")  # what stands between an answer and its code
