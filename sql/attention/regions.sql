-- regions: the parts of the keys under both segmentations; each segmentation's four regions sum to one
-- grain: segmentation, region
-- source: issue 224, README of the published files (regions and segmentations)
-- columns:
--   segmentation: A (everything) or B (structural tokens moved to specials)
--   region: system, user, assistant, and header (A) or specials (B)
--   published_region: the same region under the name the published summary uses
--   meaning: which tokens belong to it
select *
from (
  values
    ('A', 'system', 'system_A', 'system block with its structural tokens'),
    ('A', 'user', 'user_A', 'user turn with its structural tokens'),
    ('A', 'assistant', 'asst_A', 'answer up to and including the query, with its structural tokens'),
    ('A', 'header', 'asst_header_A', 'assistant header'),
    ('B', 'system', 'system_B', 'content tokens of the system block'),
    ('B', 'user', 'user_B', 'content tokens of the user turn'),
    ('B', 'assistant', 'asst_B', 'content tokens of the answer up to and including the query'),
    ('B', 'specials', 'specials', 'assistant header and every structural token')
) as t(segmentation, region, published_region, meaning)
