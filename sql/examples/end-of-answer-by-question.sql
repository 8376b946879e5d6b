-- Which questions carry the contrast with the end of answers: sums turned into means, question by question.
select subject, question_id, layer, marker_total / nullif(n_markers, 0) as at_marker, end_total / nullif(n_ends, 0) as at_end, n_markers, n_ends
from end_of_answer_questions
order by subject, layer, question_id
