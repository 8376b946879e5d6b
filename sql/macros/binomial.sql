-- The binomial distribution and rates: exact tails, the exact two-sided test, the sign test and the Wilson interval.
--
-- incomplete_beta(x, a, b)            regularised incomplete beta function I_x(a, b), 0 <= x <= 1
-- binomial_cdf(k, n, p)               probability of at most k successes in n trials of probability p; a fractional k counts as its floor
-- binomial_two_sided_p(k, n, p)       exact two-sided p value: the total probability of all outcomes that are at most as probable as k, where outcomes within a
--                                     relative 1e-7 count as equally probable (the rule of scipy.stats.binomtest and R's binom.test)
-- sign_test_p(k, n)                   the same for p = 1/2: k positive differences among n that are not zero
-- wilson_low(k, n, z), wilson_high    ends of the Wilson score interval of the rate k / n; z defaults to the 95% level
--
-- The result is NULL where an argument is NULL or NaN, n is not above 0, p is outside [0, 1], or a or b is not above 0; the two tests and the interval
-- also give NULL where k is outside [0, n]. Counts are whole numbers below 2^31; the Wilson interval also takes weighted ones.
--
-- Source: P(X <= k) = I_(1 - p)(n - k, k + 1) (Abramowitz & Stegun 26.5.24). With x = exp(u) / (1 + exp(u)) the integral that defines I becomes
-- I_x(a, b) = x^a (1 - x)^b / B(a, b) * integral over s from 0 to infinity of exp(-a s) (1 - x + x exp(-s))^(-(a + b)), whose integrand falls steadily when
-- x <= a / (a + b); beyond that I_x(a, b) = 1 - I_(1 - x)(b, a). The trapezoidal rule after s = width exp(v - exp(-v)) (Takahasi and Mori 1974) takes 86 nodes.
-- The Wilson interval: Wilson, Journal of the American Statistical Association 22, 1927.
--
-- Precision: relative 1e-10 for tails and tests with n up to 5,000 (it grows with n, as lgamma does: 1e-8 at a million), and for incomplete_beta with a and b
-- from 1/2; relative 1e-7 for smaller a or b.

-- I_x(a, b) for each {'x', 'a', 'b'} of a list. Stages follow one another rather than nest, since the time to plan a query doubles with each nested lambda.
create or replace macro incomplete_beta_list(points) as
    list_transform(
        list_transform(
            list_transform(
                points,
                lambda point: case
                    when not (point['a'] > 0 and point['b'] > 0 and isfinite(point['a']) and isfinite(point['b'])) then null
                    when point['x'] * (point['a'] + point['b']) >= point['a'] and point['x'] <= 1
                        then {'x': 1 - point['x'], 'y': point['x'], 'a': point['b'], 'b': point['a'], 'upper': 1}
                    when point['x'] >= 0 and point['x'] <= 1
                        then {'x': point['x'], 'y': 1 - point['x'], 'a': point['a'], 'b': point['b'], 'upper': 0}
                end
            ),
            lambda tail: {
                'x': tail['x'],
                'y': tail['y'],
                'a': tail['a'],
                'b': tail['b'],
                'upper': tail['upper'],
                'width': 1 / least(
                    tail['a'], sqrt((tail['a'] + tail['b']) * tail['x'] * tail['y']) + tail['a'] * tail['y'] - tail['b'] * tail['x']
                ),
                'front': exp(
                    tail['a'] * ln(nullif(tail['x'], 0)) + tail['b'] * ln(tail['y'])
                    + lgamma(tail['a'] + tail['b']) - lgamma(tail['a']) - lgamma(tail['b'])
                )
            }
        ),
        lambda tail: case
            when tail['x'] = 0 then tail['upper']::double
            else abs(tail['upper'] - tail['front'] * tail['width'] * list_sum(list_transform(
                list_transform(
                    range(-40, 46),
                    lambda k: {'s': exp(k / 12.0 - exp(-k / 12.0)), 'weight': exp(k / 12.0 - exp(-k / 12.0)) * (1 + exp(-k / 12.0)) / 12.0}
                ),
                lambda node: node['weight'] * exp(
                    -tail['a'] * tail['width'] * node['s']
                    - (tail['a'] + tail['b']) * ln(tail['y'] + tail['x'] * exp(-tail['width'] * node['s']))
                )
            )))
        end
    );

create or replace macro incomplete_beta(x, a, b) as incomplete_beta_list([{'x': x::double, 'a': a::double, 'b': b::double}])[1];

create or replace macro binomial_cdf(k, n, p) as
    case
        when n::double > 0 and isfinite(n::double) and p::double >= 0 and p::double <= 1 and not isnan(k::double) then
            case
                when k::double < 0 then 0.0
                when floor(k::double) >= n::double then 1.0
                else incomplete_beta(1 - p::double, n::double - floor(k::double), floor(k::double) + 1)
            end
    end;

-- Whether k of n is a possible count.
create or replace macro binomial_possible(k, n) as n::double > 0 and isfinite(n::double) and k::double >= 0 and k::double <= n::double;

-- A count above n p is read as n - k with probability q = 1 - p, so the observed tail is always the lower one. `first` is the first count above it that n p
-- allows; of the counts from there on, whose probability falls, list_reduce finds how many are more probable than k, by halving steps on logarithms. The list
-- of steps is the same for every row and holds the first state: with an initial value and lists of several lengths DuckDB 1.5 mixes rows up (its issue 25816).
-- The counts from `cut` on form the far tail; a cut of n + 1 leaves none, which is a NULL that list_sum skips.
create or replace macro binomial_two_sided_p(k, n, p) as
    case
        when binomial_possible(k, n) and p::double in (0, 1) then (k::double = n::double * p::double)::int::double
        when binomial_possible(k, n) and p::double > 0 and p::double < 1 then
            least(1.0, list_sum(incomplete_beta_list(flatten(list_transform(
                list_transform(
                    list_transform(
                        [
                            case
                                when k::double > n::double * p::double then {'k': n::double - k::double, 'n': n::double, 'p': 1 - p::double, 'q': p::double}
                                else {'k': k::double, 'n': n::double, 'p': p::double, 'q': 1 - p::double}
                            end
                        ],
                        lambda near: {
                            'k': near['k'],
                            'n': near['n'],
                            'p': near['p'],
                            'q': near['q'],
                            'first': ceil(near['n'] * near['p']),
                            'log_odds': ln(near['p']) - ln(near['q']),
                            'log_k': near['k'] * (ln(near['p']) - ln(near['q'])) - lgamma(near['k'] + 1) - lgamma(near['n'] - near['k'] + 1) + ln(1 + 1e-7)
                        }
                    ),
                    lambda far: {
                        'k': far['k'],
                        'n': far['n'],
                        'p': far['p'],
                        'q': far['q'],
                        'cut': far['first'] + list_reduce(
                            list_prepend(0::double, list_transform(range(31), lambda i: 2::double ** (30 - i))),
                            lambda nearer, step: case
                                when far['first'] + nearer + step - 1 > far['n'] then nearer
                                when (far['first'] + nearer + step - 1) * far['log_odds']
                                    - lgamma(far['first'] + nearer + step) - lgamma(far['n'] - far['first'] - nearer - step + 2) > far['log_k']
                                    then nearer + step
                                else nearer
                            end
                        )
                    }
                ),
                lambda tails: [
                    {'x': tails['q'], 'a': tails['n'] - tails['k'], 'b': tails['k'] + 1},
                    {'x': tails['p'], 'a': tails['cut'], 'b': tails['n'] - tails['cut'] + 1}
                ]
            )))))
    end;

create or replace macro sign_test_p(k, n) as
    case
        when binomial_possible(k, n) then
            case when 2 * k::double = n::double then 1.0 else least(1.0, 2 * binomial_cdf(least(k::double, n::double - k::double), n, 0.5)) end
    end;

create or replace macro wilson_low(k, n, z := 1.959963984540054) as
    case
        when binomial_possible(k, n) and not isnan(z::double) then
            greatest(
                0.0,
                (k::double + z::double ** 2 / 2 - z::double * sqrt(k::double * (1 - k::double / n::double) + z::double ** 2 / 4)) / (n::double + z::double ** 2)
            )
    end;

create or replace macro wilson_high(k, n, z := 1.959963984540054) as
    case
        when binomial_possible(k, n) and not isnan(z::double) then
            least(
                1.0,
                (k::double + z::double ** 2 / 2 + z::double * sqrt(k::double * (1 - k::double / n::double) + z::double ** 2 / 4)) / (n::double + z::double ** 2)
            )
    end;
