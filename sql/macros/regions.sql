-- region_fraction(segmentation, region, ...): fraction of attention on a region, from the seven disjoint parts a row is stored as.
--   A: system, user and assistant with their structural tokens, and the header; B: the same without structural tokens, which join the header in specials.
create or replace macro region_fraction(
  segmentation, region, system_content, system_structural, user_content, user_structural, assistant_content, assistant_structural, header
) as case segmentation
  when 'A' then case region
    when 'system' then system_content::double + system_structural
    when 'user' then user_content::double + user_structural
    when 'assistant' then assistant_content::double + assistant_structural
    when 'header' then header::double
  end
  when 'B' then case region
    when 'system' then system_content::double
    when 'user' then user_content::double
    when 'assistant' then assistant_content::double
    when 'specials' then header::double + system_structural + user_structural + assistant_structural
  end
end;
-- regions_total(segmentation, ...): sum of the four regions of a segmentation, from the same seven parts; of those that are there where some are NULL.
create or replace macro regions_total(
  segmentation, system_content, system_structural, user_content, user_structural, assistant_content, assistant_structural, header
) as list_sum([
  region_fraction(segmentation, 'system', system_content, system_structural, user_content, user_structural, assistant_content, assistant_structural, header),
  region_fraction(segmentation, 'user', system_content, system_structural, user_content, user_structural, assistant_content, assistant_structural, header),
  region_fraction(segmentation, 'assistant', system_content, system_structural, user_content, user_structural, assistant_content, assistant_structural, header),
  region_fraction(
    segmentation,
    case segmentation when 'A' then 'header' else 'specials' end,
    system_content, system_structural, user_content, user_structural, assistant_content, assistant_structural, header
  )
]);
