"""How the app is served: who may ask it, and the server that looks before it answers."""
