-- Student's t distribution, and the t test of a correlation: what SQL lacks for paired tests, Welch tests and confidence intervals.
--
-- student_t_p(t, df)          two-sided p value of t: the probability of a value at least as far from 0
-- student_t_cdf(t, df)        probability of a value of at most t
-- student_t_quantile(p, df)   the value that has probability p below it, 0 < p < 1
-- pearson_p(r, n)             two-sided p value of a Pearson correlation r over n pairs, by t = r sqrt((n - 2) / (1 - r^2)) with n - 2 degrees of freedom
--
-- Arguments: df is any real number above 0, so Welch's degrees of freedom need no rounding. The result is NULL where an argument is NULL or NaN, df is
-- infinite or not above 0, p is outside (0, 1), r is outside [-1, 1], or n is below 3.
--
-- Source: the density of t with df degrees of freedom, under t = sqrt(df) sinh(y), is C cosh(y)^(-df) with C = gamma((df + 1) / 2) / (sqrt(pi) gamma(df / 2)),
-- so the upper tail is C cosh(y)^(-df) J with J = integral over s from 0 to infinity of (cosh(s) + tau sinh(s))^(-df), tau = tanh(y) = t / sqrt(df + t^2).
-- J has a positive and smooth integrand, and the trapezoidal rule after s = width exp(v - exp(-v)) (Takahasi and Mori 1974) is exact to rounding with 59 nodes.
-- The quantile takes three Halley steps on the logarithm of the tail, whose derivative is -1 / J, from the bound tail <= cosh(y)^(-df) / 2.
--
-- Precision against 40-digit arithmetic for df from 0.1 to 1e6: relative 1e-12 for p, which is computed as a tail and so holds down to 1e-300, and for the
-- quantile. |t| above 1e150 counts as infinite (p = 0).

-- ln(1 + y) for y >= 0 without losing a small y.
create or replace macro student_t_log1p(y) as case when y < 1 then 2 * atanh(y / (2 + y)) else ln(1 + y) end;

-- C above; from df = 100 on by the asymptotic series of the ratio of gamma functions (Abramowitz & Stegun 6.1.40), because lgamma loses digits there.
create or replace macro student_t_density_at_zero(df) as
    case
        when df < 100 then exp(lgamma(df / 2 + 0.5) - lgamma(df / 2))
        else sqrt(df / 2) * exp(-1 / (4 * df) + 1 / (24 * df ** 3) - 1 / (20 * df ** 5))
    end / sqrt(pi());

-- Nodes and weights of the rule: s = exp(v - exp(-v)), weight = s (1 + exp(-v)) / 8 with v = k / 8, k from -28 to 30. They stand here as text, which is one
-- expression, because the time to plan a query grows with the number of expressions in it; tests/sql/test_macros.py computes them anew.
create or replace macro student_t_nodes() as '[
    {s: 1.2534622584305382e-16, weight: 5.345303932440124e-16}, {s: 6.955221091142861e-15, weight: 2.6277072002491544e-14},
    {s: 2.4430964990717644e-13, weight: 8.181423207579614e-13}, {s: 5.732352600127074e-12, weight: 1.7025012052265557e-11},
    {s: 9.420603004412962e-11, weight: 2.4829809061030273e-10}, {s: 1.1307054336209714e-09, weight: 2.6466173501242356e-09},
    {s: 1.0284459328196184e-08, weight: 2.139505884088428e-08}, {s: 7.323633304358818e-08, weight: 1.3552909070741476e-07},
    {s: 4.2021726546172006e-07, weight: 6.924389455165566e-07}, {s: 1.9927136875675745e-06, weight: 2.9270506023351757e-06},
    {s: 7.98667654639196e-06, weight: 1.047026922862489e-05}, {s: 2.7594405967326213e-05, weight: 3.2329942297189484e-05},
    {s: 8.363436155539918e-05, weight: 8.770166886081158e-05}, {s: 0.00022580943545755293, weight: 0.00021228398996751407},
    {s: 0.0005505445514532493, weight: 0.00046483871256331155}, {s: 0.0012267105554867016, weight: 0.0009320575991975149},
    {s: 0.002524558532037155, weight: 0.0017298556140620976}, {s: 0.004843698375306868, weight: 0.0030001121340414096},
    {s: 0.008735649715417845, weight: 0.004903257897310007}, {s: 0.01491755086354068, weight: 0.007608355297251301},
    {s: 0.024275641750774683, weight: 0.011282959699510903}, {s: 0.037859426017745036, weight: 0.016084933466936097},
    {s: 0.05686927781534188, weight: 0.022157692486896433}, {s: 0.08264128066039526, weight: 0.029629439896400052},
    {s: 0.11663320475407388, weight: 0.03861610628775485}, {s: 0.16041494499280978, weight: 0.04922716409172488},
    {s: 0.21566577304540413, weight: 0.06157326339316413}, {s: 0.2841797117579015, weight: 0.07577468906616802},
    {s: 0.36787944117144233, weight: 0.09196986029286058}, {s: 0.46883850793902904, weight: 0.11032337987595067},
    {s: 0.589311258134141, weight: 0.1310334159302256}, {s: 0.731769812120779, weight: 0.1543384198167843},
    {s: 0.8989474862671122, weight: 0.18052333726996464}, {s: 1.0938882727300459, weight: 0.20992555902896262},
    {s: 1.3200022580740631, weight: 0.24294089679135797}, {s: 1.581127152443726, weight: 0.2800298763224933},
    {s: 1.8815963875316455, weight: 0.321724626885874}, {s: 2.226314511025252, weight: 0.36863662626816224},
    {s: 2.6208408545627746, weight: 0.4214655414002712}, {s: 3.071482684693031, weight: 0.4810093906515118},
    {s: 3.5853992686249736, weight: 0.5481762477036659}, {s: 4.1707185069614905, weight: 0.6239977093715515},
    {s: 4.8366680128155055, weight: 0.7096443608203854}, {s: 5.593722759141758, weight: 0.806443490926208},
    {s: 6.453771681742981, weight: 0.9158993375295122}, {s: 7.430305921714657, weight: 1.0397161766343528},
    {s: 8.538631725249466, weight: 1.1798246109887616}, {s: 9.796111397800859, weight: 1.338411461964758},
    {s: 11.22243614081408, weight: 1.5179537244986994}, {s: 12.839935090162575, weight: 1.721257108553689},
    {s: 14.673925434280319, weight: 1.951499762850071}, {s: 16.753109125792623, weight: 2.212281858419418},
    {s: 19.11002242330408, weight: 2.5076818020255667}, {s: 21.781545321246078, weight: 2.8423199540301134},
    {s: 24.80947885813939, weight: 3.2214308434476995}, {s: 28.24119935181488, weight: 3.650945006562329},
    {s: 32.130399810533255, weight: 4.13758172664054}, {s: 36.53793013024951, weight: 4.688954123344936},
    {s: 41.53274923169394, weight: 5.313688234103285}
]'::struct(s double, weight double)[];

-- J above, for 0 <= tau <= 1 and df > 0.
create or replace macro student_t_tail_integral(tau, df) as
    list_transform(
        [{'tau': tau, 'df': df, 'width': 1 / least(df, sqrt(df) + df * tau)}],
        lambda arg: arg['width'] * list_sum(list_transform(
            list_transform(
                list_transform(student_t_nodes(), lambda node: {'weight': node['weight'], 'half': least(arg['width'] * node['s'] / 2, 350)}),
                lambda node: {'weight': node['weight'], 'growth': 2 * sinh(node['half']) * (sinh(node['half']) + arg['tau'] * cosh(node['half']))}
            ),
            lambda term: term['weight'] * exp(-arg['df'] * student_t_log1p(term['growth']))
        ))
    )[1];

create or replace macro student_t_p(t, df) as
    list_transform(
        [{
            't': case when not isnan(t::double) then abs(t::double) end,
            'df': case when df::double > 0 and isfinite(df::double) then df::double end
        }],
        lambda arg: case
            when arg['t'] is null or arg['df'] is null then null
            when arg['t'] > 1e150 then 0.0
            else least(
                1.0,
                2 * student_t_density_at_zero(arg['df']) * exp(-arg['df'] / 2 * student_t_log1p(arg['t'] * arg['t'] / arg['df']))
                * student_t_tail_integral(arg['t'] / sqrt(arg['df'] + arg['t'] * arg['t']), arg['df'])
            )
        end
    )[1]::double;

create or replace macro student_t_cdf(t, df) as abs((t::double > 0)::double - student_t_p(t, df) / 2);

create or replace macro student_t_quantile(p, df) as
    list_transform(
        [{
            'tail': case when p::double > 0 and p::double < 1 then least(p::double, 1 - p::double) end,
            'sign': case when p::double < 0.5 then -1 else 1 end,
            'df': case when df::double > 0 and isfinite(df::double) then df::double end
        }],
        lambda arg: case
            when arg['tail'] is not null and arg['df'] is not null then arg['sign'] * sqrt(arg['df']) * sinh(list_reduce(
                -- the starting value leads the list: as an argument of its own it has the step planned twice
                [-ln(2 * arg['tail']) / arg['df'] + student_t_log1p(sqrt(1 - exp(2 * ln(2 * arg['tail']) / arg['df']))), 0, 0, 0],
                lambda y, halley_step: list_transform(
                    list_transform(
                        [{'y': y, 'integral': student_t_tail_integral(tanh(y), arg['df'])}],
                        lambda here: {
                            'y': here['y'],
                            'integral': here['integral'],
                            'bend': (1 - arg['df'] * tanh(here['y']) * here['integral']) / 2,
                            'excess': ln(student_t_density_at_zero(arg['df']) * here['integral'] / arg['tail'])
                                - arg['df'] / 2 * student_t_log1p(sinh(here['y']) ** 2)
                        }
                    ),
                    lambda here: greatest(0.0, here['y'] + here['excess'] * here['integral'] / (1 + here['excess'] * here['bend']))
                )[1]
            ))
        end
    )[1];

create or replace macro pearson_p(r, n) as
    case
        when n::double >= 3 and isfinite(n::double) and abs(r::double) <= 1 then
            case
                when abs(r::double) = 1 then 0.0
                else student_t_p(r::double * sqrt((n::double - 2) / ((1 - r::double) * (1 + r::double))), n::double - 2)
            end
    end;
