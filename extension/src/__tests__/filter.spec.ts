import { allTags, filterPapers, NO_FILTER } from '../filter';
import { paperRow } from './fakes';

const papers = [
  paperRow({
    slug: 'a',
    title: 'Determinantal Points',
    year: 2023,
    tags: ['theory', 'statistics'],
    results: [
      { scale: 'small', verdicts: { 'trend holds': 3 }, origin: 'run here' },
      { scale: 'smoke', verdicts: {}, origin: 'run here' }
    ]
  }),
  paperRow({ slug: 'b', title: 'Other', tags: ['theory'], status: 'planned' })
];

function shown(changes: Partial<typeof NO_FILTER>): string[] {
  return filterPapers(papers, { ...NO_FILTER, ...changes }).map(p => p.slug);
}

describe('filterPapers', () => {
  it('lets all through without a filter', () => {
    expect(shown({})).toEqual(['a', 'b']);
  });

  it('finds words in any order and case', () => {
    expect(shown({ text: 'POINTS determinantal 2023' })).toEqual(['a']);
    expect(shown({ text: 'points nowhere' })).toEqual([]);
  });

  it('filters by tag, scale, verdict and readiness', () => {
    expect(shown({ tag: 'statistics' })).toEqual(['a']);
    expect(shown({ scale: 'smoke' })).toEqual(['a']);
    expect(shown({ scale: 'gpu' })).toEqual([]);
    expect(shown({ verdict: 'trend holds' })).toEqual(['a']);
    expect(shown({ ready: true })).toEqual(['a']);
  });

  it('wants the verdict at the very scale', () => {
    expect(shown({ scale: 'small', verdict: 'trend holds' })).toEqual(['a']);
    expect(shown({ scale: 'smoke', verdict: 'trend holds' })).toEqual([]);
  });
});

describe('allTags', () => {
  it('names each tag once, sorted', () => {
    expect(allTags(papers)).toEqual(['statistics', 'theory']);
  });
});
