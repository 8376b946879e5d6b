-- Published sentences and what the data say of them, replications on other models among them.
select study, claim, asked, verdict, statement, expected, found, standing, stale
from checked_claims
order by verdict, study, place
