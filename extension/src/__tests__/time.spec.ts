import { duration } from '../time';

describe('duration', () => {
  it.each([
    [-3, '0 s'],
    [59.4, '59 s'],
    [59.6, '1 min 0 s'],
    [61, '1 min 1 s'],
    [7260, '2 h 1 min']
  ])('%d is %s', (seconds, words) => {
    expect(duration(seconds)).toBe(words);
  });
});
