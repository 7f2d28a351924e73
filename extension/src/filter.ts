import { IPaperRow, Scale, Verdict } from './api';

/** What the list of papers is narrowed to; an empty field asks for nothing. */
export interface IPaperFilter {
  /** Words that all occur in title, slug, summary, tags, number or year. */
  text: string;
  tag: string;
  /** Only papers with a result at this scale. */
  scale: Scale | '';
  /** Only papers with a claim of this verdict (at `scale`, if that is given). */
  verdict: Verdict | '';
  /** Only papers whose notebook runs. */
  ready: boolean;
}

export const NO_FILTER: IPaperFilter = {
  text: '',
  tag: '',
  scale: '',
  verdict: '',
  ready: false
};

/** Return the papers that a filter lets through, those that can be run first. */
export function filterPapers(
  papers: readonly IPaperRow[],
  filter: IPaperFilter
): IPaperRow[] {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = papers.filter(
    paper =>
      words.every(word => searchable(paper).includes(word)) &&
      (!filter.tag || paper.tags.includes(filter.tag)) &&
      (!filter.ready || paper.status === 'ready') &&
      hasResult(paper, filter)
  );
  const rank = (paper: IPaperRow) => Number(paper.status !== 'ready');
  return found.sort((a, b) => rank(a) - rank(b));
}

/** All tags of the papers, sorted. */
export function allTags(papers: readonly IPaperRow[]): string[] {
  return [...new Set(papers.flatMap(paper => paper.tags))].sort();
}

function hasResult(paper: IPaperRow, filter: IPaperFilter): boolean {
  const { scale, verdict } = filter;
  if (!scale && !verdict) {
    return true;
  }
  return paper.results.some(
    result =>
      (!scale || result.scale === scale) &&
      (!verdict || (result.verdicts[verdict] ?? 0) > 0)
  );
}

function searchable(paper: IPaperRow): string {
  const { title, slug, summary, tags, number, year, arxiv } = paper;
  return [title, slug, summary, ...tags, number, year, arxiv]
    .join(' ')
    .toLowerCase();
}
