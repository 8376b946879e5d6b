-- checked_claims: published sentences as they were last checked, against the rows they speak of and against other models
-- grain: study, claim, asked
-- outcomes: verdict, found, standing, changed
-- source: own; claims stand in the study files, `personascope check` writes the verdicts
-- columns:
--   asked: checkpoint that was asked on purpose instead of the one the sentence was published of (NULL: none)
--   model: checkpoint that was asked (NULL where the sentence speaks of published rows)
--   first_registered: when a claim of this id was first registered by a run of its study, UTC (NULL: never)
--   registered: when it was first registered as it stands now
--   data_begun: when the first extraction or training of its study started, else when the first published file was brought in (NULL: there are no data)
--   standing: before the data (registered as it stands before they began), changed since the data, after the data, or not registered
--   changed: what is other now than when it was first registered (NULL: nothing, or never registered)
--   checked: when they were checked, UTC
--   stale: runs came, went or were redone since, so that the verdict may be another now
--   new_runs: runs in the lake now minus runs the check saw
with checks as (
  select
    run_id,
    checkpoint as asked,
    finished as checked,
    row_number() over (partition by study, checkpoint order by finished desc, run_id desc) as newness
  from runs
  where extractor = 'claims'
),
present as (
  select state, n_runs from lake_state
),
registered as (
  select g.study, g.claim, g.fingerprint, g.statement, g.expected, g.query, r.finished as written, r.study as study_name
  from registrations as g
  join runs as r using (run_id)
  where g.claim is not null
),
-- the first time that a claim stood there at all, and the first time that it stood there as it was checked
first_ones as (
  select * from registered qualify row_number() over (partition by study, claim order by written, fingerprint) = 1
),
as_checked as (
  select study, claim, fingerprint, min(written) as written from registered group by study, claim, fingerprint
),
data as (
  select study, min(started) as begun from runs where kind in ('extract', 'train') and study is not null group by study
),
published as (
  select min(started) as begun from runs where kind = 'ingest' and extractor <> 'checkpoint' and extractor <> 'prompts'
),
final as (
  select
    v.study,
    v.claim,
    c.asked,
    v.place,
    v.verdict,
    v.statement,
    v.source,
    v.measured,
    v.expected,
    v.found,
    v.detail,
    v.query,
    v.n_rows,
    v.fingerprint,
    v.model,
    v.run_id,
    f.written as first_registered,
    a.written as registered,
    coalesce(d.begun, published.begun) as data_begun,
    case
      when f.written is null then 'not registered'
      when a.written <= coalesce(d.begun, published.begun) or (a.written is not null and coalesce(d.begun, published.begun) is null) then 'before the data'
      when f.written <= coalesce(d.begun, published.begun) then 'changed since the data'
      else 'after the data'
    end as standing,
    nullif(
      concat_ws(
        '; ',
        case when f.statement <> v.statement then format('the sentence was: {}', f.statement) end,
        case when f.expected <> v.expected then format('expected {} at first', f.expected) end,
        case when f.fingerprint <> v.fingerprint and f.statement = v.statement and f.expected = v.expected then 'another query, or another way to compare' end
      ),
      ''
    ) as changed,
    c.checked,
    v.lake_state <> present.state as stale,
    present.n_runs - v.lake_runs as new_runs
  from claim_verdicts as v
  join checks as c on c.run_id = v.run_id and c.newness = 1
  cross join present
  cross join published
  left join first_ones as f on f.study = v.study and f.claim = v.claim
  left join as_checked as a on a.study = v.study and a.claim = v.claim and a.fingerprint = v.fingerprint
  left join data as d on d.study = coalesce(f.study_name, v.study)
)
select * from final
