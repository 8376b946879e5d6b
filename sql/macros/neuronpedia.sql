-- neuronpedia_page(source, feature): address of a feature's page; source is <model>/<source> as the table sae names it (NULL gives NULL).
create or replace macro neuronpedia_page(source, feature) as 'https://www.neuronpedia.org/' || source || '/' || feature;
