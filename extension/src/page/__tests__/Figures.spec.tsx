import { acceptDialog, waitForDialog } from '@jupyterlab/testutils';
import { act, fireEvent, render, screen } from '@testing-library/react';
import React from 'react';

import { Figures } from '../Figures';
import { figure } from './fakes';

const picture = jest.fn();
const revoked = jest.fn();

beforeEach(() => {
  picture.mockReset().mockResolvedValue(new Blob(['png']));
  revoked.mockReset();
  URL.createObjectURL = () => 'blob:one';
  URL.revokeObjectURL = revoked;
  // What the lab's own test environment puts in its place never reports anything.
  Reflect.deleteProperty(globalThis, 'IntersectionObserver');
});

describe('Figures', () => {
  it('fetches a picture over the connection and lets it go', async () => {
    const { unmount } = render(
      <Figures api={{ picture }} figures={[figure()]} />
    );
    const image = await screen.findByAltText('The curve.');
    expect(picture.mock.calls).toEqual([['runs/b1/r1/figures/curve.png']]);
    expect(image.getAttribute('src')).toBe('blob:one');
    expect(revoked).not.toHaveBeenCalled();
    unmount();
    expect(revoked.mock.calls).toEqual([['blob:one']]);
  });

  it('opens a picture larger', async () => {
    render(<Figures api={{ picture }} figures={[figure()]} />);
    fireEvent.click(
      await screen.findByRole('button', { name: 'Enlarge: The curve.' })
    );
    await waitForDialog();
    const large = document.querySelector('.jp-Dialog img')!;
    expect(large.getAttribute('src')).toBe('blob:one');
    expect(large.getAttribute('alt')).toBe('The curve.');
    await act(() => acceptDialog());
    expect(document.querySelector('.jp-Dialog')).toBeNull();
  });

  it('waits until a picture comes near', async () => {
    let report: (entries: { isIntersecting: boolean }[]) => void = () => {
      throw new Error('nothing is observed');
    };
    const disconnect = jest.fn();
    class Observer {
      constructor(callback: typeof report) {
        report = callback;
      }
      observe = jest.fn();
      disconnect = disconnect;
    }
    Object.assign(globalThis, { IntersectionObserver: Observer });
    render(<Figures api={{ picture }} figures={[figure()]} />);
    act(() => report([{ isIntersecting: false }]));
    expect(picture).not.toHaveBeenCalled();
    act(() => report([{ isIntersecting: true }]));
    expect(await screen.findByAltText('The curve.')).toBeTruthy();
    expect(disconnect).toHaveBeenCalled();
  });

  it('says why a picture is missing, and keeps the caption', async () => {
    picture.mockRejectedValue(new Error('Not found'));
    render(
      <Figures
        api={{ picture }}
        figures={[figure(), figure({ name: 'b', caption: 'B.', url: null })]}
      />
    );
    expect(
      await screen.findByText('The picture could not be loaded: Not found')
    ).toBeTruthy();
    expect(screen.getByText('The curve.').tagName).toBe('FIGCAPTION');
    expect(screen.getByRole('listitem').textContent).toBe('B.');
    expect(picture).toHaveBeenCalledTimes(1);
  });
});
