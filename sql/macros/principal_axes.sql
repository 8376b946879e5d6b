-- Principal axes of a few points from their Gram matrix (inner products of the centred points): lists of lists, as SQL has no matrices.
--
-- gram_scaled(matrix)     the matrix over its trace
-- gram_squared(matrix)    a symmetric matrix times itself
-- leading_axis(matrix)    unit eigenvector of the largest eigenvalue of a symmetric positive semi-definite matrix with a trace above 0, by squaring it 30 times:
--                         exact to rounding where the two largest eigenvalues differ by more than a hundred-millionth, else some axis between theirs
-- off_axis(matrix, axis)  the matrix without what lies along a unit axis, from both sides, so that it stays positive semi-definite
-- variance_along(matrix, axis)   how much of the trace lies along a unit axis
-- pointing_up(axis)       the axis with the sign that makes its largest entry positive, since an axis has no sign of its own

create or replace macro gram_scaled(matrix) as list_transform(
  [list_sum(list_transform(matrix, lambda line, place: line[place]))],
  lambda total: list_transform(matrix, lambda line: list_transform(line, lambda value: value / total))
)[1];

create or replace macro gram_squared(matrix) as list_transform(
  matrix, lambda line: list_transform(matrix, lambda other: list_dot_product(line, other))
);

create or replace macro leading_axis(matrix) as list_transform(
  [list_reduce(list_resize([gram_scaled(matrix)], 31, null), lambda done, step: gram_scaled(gram_squared(done)))],
  lambda power: list_transform(
    [power[list_position(list_transform(power, lambda line, place: line[place]), list_max(list_transform(power, lambda line, place: line[place])))]],
    lambda axis: list_transform(axis, lambda value: value / sqrt(list_dot_product(axis, axis)))
  )[1]
)[1];

create or replace macro off_axis(matrix, axis) as list_transform(
  [list_transform(matrix, lambda line: list_dot_product(line, axis))],
  lambda along: list_transform(
    matrix,
    lambda line, i: list_transform(
      line, lambda value, j: value - axis[i] * along[j] - along[i] * axis[j] + list_dot_product(along, axis) * axis[i] * axis[j]
    )
  )
)[1];

create or replace macro pointing_up(axis) as
  case when list_max(axis) >= -list_min(axis) then axis else list_transform(axis, lambda value: -value) end;

create or replace macro variance_along(matrix, axis) as list_dot_product(list_transform(matrix, lambda line: list_dot_product(line, axis)), axis);
