import { act, render, screen } from '@testing-library/react';
import React from 'react';

import { FakeApi, run } from '../../__tests__/fakes';
import { StemmaModel } from '../../model';
import { LogView } from '../LogView';

describe('LogView', () => {
  let api: FakeApi;
  let model: StemmaModel;
  let lines: string;

  beforeEach(() => {
    jest.useFakeTimers();
    lines = 'one\n';
    api = new FakeApi();
    api.log = async (_, offset) => {
      api.asked.push('log');
      return { text: lines.slice(offset), offset: lines.length, over: false };
    };
    model = new StemmaModel(api, { standby: 'never' });
  });

  afterEach(() => {
    model.dispose();
    jest.useRealTimers();
  });

  async function show(isVisible: boolean, state: 'running' | 'failed') {
    api.allRuns = [run({ id: 'b/1', state })];
    await model.refresh();
    render(
      <LogView model={model} id="b/1" label="dpp" isVisible={isVisible} />
    );
    await act(() => jest.advanceTimersByTimeAsync(0));
  }

  it('goes on reading while the run goes on', async () => {
    await show(true, 'running');
    lines += '<script>alert(1)</script>\n';
    await act(() => jest.advanceTimersByTimeAsync(2000));
    const log = screen.getByRole('log');
    expect(log.textContent).toBe('one\n<script>alert(1)</script>\n');
    expect(log.querySelector('script')).toBeNull();
  });

  it('reads the log of a run that is over once', async () => {
    await show(true, 'failed');
    await act(() => jest.advanceTimersByTimeAsync(10_000));
    expect(api.asked.filter(name => name === 'log')).toHaveLength(1);
  });

  it('reads nothing while it is hidden', async () => {
    await show(false, 'running');
    await act(() => jest.advanceTimersByTimeAsync(10_000));
    expect(api.asked).not.toContain('log');
  });
});
