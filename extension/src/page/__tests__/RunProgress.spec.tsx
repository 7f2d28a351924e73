import { act, fireEvent, render, screen } from '@testing-library/react';
import React from 'react';

import { run } from '../../__tests__/fakes';
import { IRun } from '../../api';
import { RunProgress } from '../RunProgress';

const onStop = jest.fn();
const onLog = jest.fn();

function element(shown: IRun, isShown = true) {
  return (
    <RunProgress run={shown} isShown={isShown} onStop={onStop} onLog={onLog} />
  );
}

const HALFWAY = {
  cell: 3,
  cells: 10,
  heading: 'The experiment',
  done: 4,
  total: 8
};

describe('RunProgress', () => {
  afterEach(() => jest.useRealTimers());

  it('shows cell, heading and both bars', () => {
    render(element(run({ progress: HALFWAY, attempts: 2 })));
    const [whole, within] =
      screen.getAllByRole<HTMLProgressElement>('progressbar');
    expect(whole.value).toBeCloseTo(0.25);
    expect([within.value, within.max]).toEqual([4, 8]);
    const heading = screen.getByText(': The experiment');
    expect(heading.getAttribute('aria-live')).toBe('polite');
    expect(heading.parentElement!.textContent).toBe(
      'Cell 3 of 10: The experiment'
    );
    expect(screen.getByText('attempt 2')).toBeTruthy();
  });

  it('stops the run and shows its log', () => {
    const shown = run();
    render(element(shown));
    fireEvent.click(
      screen.getByRole('button', { name: 'Stop palimpsest at smoke' })
    );
    expect(onStop).toHaveBeenCalledWith(shown);
    fireEvent.click(
      screen.getByRole('button', { name: 'Log of palimpsest at smoke' })
    );
    expect(onLog).toHaveBeenCalledWith(shown);
  });

  it('says why a run failed, as text', () => {
    const message = '<b>KeyError</b>: x';
    const failed = run({
      state: 'failed',
      failure: 'code',
      message,
      ended: 1_790_000_066,
      progress: HALFWAY
    });
    const { container } = render(element(failed));
    expect(screen.getByRole('status').textContent).toBe('failed (code)');
    expect(screen.getByText(message)).toBeTruthy();
    expect(container.querySelector('b')).toBeNull();
    expect(screen.getByText('1 min 5 s')).toBeTruthy();
    expect(screen.queryByRole('progressbar')).toBeNull();
    expect(screen.queryByText('Stop')).toBeNull();
  });

  it('says that a result was there already', () => {
    render(element(run({ state: 'succeeded', cached: true })));
    expect(screen.getByText(/was there already/)).toBeTruthy();
  });

  it('ticks while it is in sight, and at no other time', () => {
    jest.useFakeTimers({ now: 1_790_000_011_000 });
    const { rerender } = render(element(run()));
    expect(screen.getByText('10 s')).toBeTruthy();
    act(() => jest.advanceTimersByTime(5000));
    expect(screen.getByText('15 s')).toBeTruthy();
    expect(jest.getTimerCount()).toBe(1);
    rerender(element(run(), false));
    expect(jest.getTimerCount()).toBe(0);
    rerender(element(run({ state: 'queued', started: null })));
    expect(jest.getTimerCount()).toBe(0);
  });
});
