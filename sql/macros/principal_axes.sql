-- Principal axes of a few points from their Gram matrix (inner products of the centred points): lists of lists, as SQL has no matrices.
--
-- gram_scaled(matrix)     the matrix over its trace
-- gram_squared(matrix)    a symmetric matrix times itself
-- leading_axis(matrix)    unit eigenvector of the largest eigenvalue of a symmetric positive semi-definite matrix with a trace above 0, by squaring it 30 times:
--                         exact to rounding where the two largest eigenvalues differ by more than a hundred-millionth, else some axis between theirs
-- off_axis(matrix, axis)  the matrix without what lies along a unit axis, from both sides, so that it stays positive semi-definite
-- variance_along(matrix, axis)   how much of the trace lies along a unit axis
-- pointing_up(axis)       the axis with the sign that makes its largest entry positive, since an axis has no sign of its own
--
-- Names of lambda parameters begin with g_: a macro is put in as text, and a caller's column of such a name would be taken for the parameter.

create or replace macro gram_scaled(matrix) as list_transform(
  [list_sum(list_transform(matrix, lambda g_line, g_place: g_line[g_place]))],
  lambda g_total: list_transform(matrix, lambda g_line: list_transform(g_line, lambda g_value: g_value / g_total))
)[1];

create or replace macro gram_squared(matrix) as list_transform(
  matrix, lambda g_line: list_transform(matrix, lambda g_other: list_dot_product(g_line, g_other))
);

create or replace macro leading_axis(matrix) as list_transform(
  [list_reduce(list_resize([gram_scaled(matrix)], 31, null), lambda g_done, g_step: gram_scaled(gram_squared(g_done)))],
  lambda g_power: list_transform(
    [g_power[list_position(
      list_transform(g_power, lambda g_line, g_place: g_line[g_place]),
      list_max(list_transform(g_power, lambda g_line, g_place: g_line[g_place]))
    )]],
    lambda g_axis: list_transform(g_axis, lambda g_value: g_value / sqrt(list_dot_product(g_axis, g_axis)))
  )[1]
)[1];

create or replace macro off_axis(matrix, axis) as list_transform(
  [list_transform(matrix, lambda g_line: list_dot_product(g_line, axis))],
  lambda g_along: list_transform(
    matrix,
    lambda g_line, g_row: list_transform(
      g_line,
      lambda g_value, g_column:
        g_value - axis[g_row] * g_along[g_column] - g_along[g_row] * axis[g_column]
        + list_dot_product(g_along, axis) * axis[g_row] * axis[g_column]
    )
  )
)[1];

create or replace macro pointing_up(axis) as
  case when list_max(axis) >= -list_min(axis) then axis else list_transform(axis, lambda g_value: -g_value) end;

create or replace macro variance_along(matrix, axis) as
  list_dot_product(list_transform(matrix, lambda g_line: list_dot_product(g_line, axis)), axis);
