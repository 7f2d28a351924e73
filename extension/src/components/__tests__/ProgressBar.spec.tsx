import { share } from '../ProgressBar';

describe('share', () => {
  it.each([
    [null, 0],
    [{ cell: 0, cells: 10, heading: '', done: 0, total: 0 }, 0],
    [{ cell: 1, cells: 10, heading: '', done: 0, total: 0 }, 0],
    [{ cell: 6, cells: 10, heading: '', done: 0, total: 0 }, 0.5],
    [{ cell: 6, cells: 10, heading: '', done: 5, total: 10 }, 0.55],
    [{ cell: 10, cells: 10, heading: '', done: 20, total: 10 }, 1],
    [{ cell: 3, cells: 0, heading: '', done: 0, total: 0 }, 0]
  ])('of %o is %d', (progress, expected) => {
    expect(share(progress)).toBeCloseTo(expected);
  });
});
