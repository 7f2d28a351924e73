import { CommandRegistry } from '@lumino/commands';
import { act, fireEvent, render, screen, within } from '@testing-library/react';
import React from 'react';

import { FakeApi, paperRow, run } from '../../__tests__/fakes';
import { StemmaModel } from '../../model';
import { CommandIDs } from '../../tokens';
import { PapersSection } from '../PapersSection';
import { RunsSection } from '../RunsSection';

let api: FakeApi;
let model: StemmaModel;
let commands: CommandRegistry;
let executed: [string, unknown][];

beforeEach(() => {
  api = new FakeApi();
  model = new StemmaModel(api, { standby: 'never' });
  commands = new CommandRegistry();
  executed = [];
  Object.values(CommandIDs).forEach(id =>
    commands.addCommand(id, {
      execute: args => void executed.push([id, { ...args }])
    })
  );
});

afterEach(() => model.dispose());

describe('PapersSection', () => {
  beforeEach(async () => {
    api.paperRows = [
      paperRow({
        slug: 'dpp',
        title: 'Determinantal',
        results: [
          {
            scale: 'small',
            verdicts: { 'trend holds': 9, inconclusive: 2 },
            origin: 'run here'
          }
        ]
      }),
      paperRow({ slug: 'alpha', title: 'Alpha', status: 'planned' })
    ];
    render(<PapersSection model={model} commands={commands} />);
    await act(() => model.refresh());
  });

  it('lists papers with year, verdicts and what is planned', () => {
    const list = screen.getByRole('list', { name: 'Papers' });
    expect(within(list).getAllByRole('listitem')).toHaveLength(2);
    expect(screen.getByRole('img', { name: '9 trend holds' })).toBeTruthy();
    expect(screen.getByText(/planned/)).toBeTruthy();
    expect(screen.getByText('2 of 2 papers')).toBeTruthy();
  });

  it('searches and filters', () => {
    fireEvent.change(screen.getByLabelText('Search papers'), {
      target: { value: 'alpha' }
    });
    expect(screen.getByText('1 of 2 papers')).toBeTruthy();
    expect(screen.queryByText('Determinantal')).toBeNull();
    fireEvent.click(screen.getByLabelText('ready to run'));
    expect(screen.getByText('0 of 2 papers')).toBeTruthy();
  });

  it('opens a paper', () => {
    fireEvent.click(screen.getByText('Determinantal'));
    expect(executed).toEqual([[CommandIDs.openPaper, { slug: 'dpp' }]]);
  });

  it('shows how far a run is, and stops showing it at the end', async () => {
    const progress = {
      cell: 3,
      cells: 9,
      heading: '<b>Data</b>',
      done: 0,
      total: 0
    };
    act(() =>
      model.receive({ kind: 'run', run: run({ slug: 'dpp', progress }) })
    );
    expect(screen.getByText('cell 3 of 9: <b>Data</b>')).toBeTruthy();
    await act(async () =>
      model.receive({
        kind: 'run',
        run: run({ slug: 'dpp', state: 'succeeded' })
      })
    );
    expect(screen.queryByText(/cell 3/)).toBeNull();
  });

  it('says why nothing can be shown', async () => {
    api.fail('papers', 'paper.yaml:3: broken');
    await act(() => model.refresh());
    expect(screen.getByRole('alert').textContent).toBe('paper.yaml:3: broken');
  });
});

describe('RunsSection', () => {
  it('invites when nothing ran yet', async () => {
    render(<RunsSection model={model} commands={commands} />);
    await act(() => model.refresh());
    expect(screen.getByText(/No run yet/)).toBeTruthy();
  });

  it('offers what fits the state', async () => {
    api.allRuns = [
      run({ id: 'b/1', label: 'going', state: 'running' }),
      run({
        id: 'b/2',
        label: 'broken',
        state: 'failed',
        failure: 'dead kernel'
      }),
      run({ id: 'b/3', label: 'fine', state: 'succeeded' })
    ];
    render(<RunsSection model={model} commands={commands} />);
    await act(() => model.refresh());
    expect(screen.getByText('failed (dead kernel)')).toBeTruthy();
    const names = (pattern: RegExp) =>
      screen.queryAllByRole('button', { name: pattern }).length;
    expect(names(/^Stop /)).toBe(1);
    expect(names(/^Retry /)).toBe(1);
    expect(names(/^Log of /)).toBe(3);
    fireEvent.click(screen.getByRole('button', { name: 'Log of fine' }));
    expect(executed).toEqual([[CommandIDs.showLog, { id: 'b/3' }]]);
  });

  it('draws many past runs in portions', async () => {
    api.allRuns = Array.from({ length: 120 }, (_, i) =>
      run({ id: `b/${i}`, label: `run ${i}`, state: 'succeeded' })
    );
    render(<RunsSection model={model} commands={commands} />);
    await act(() => model.refresh());
    const shown = () =>
      within(screen.getByRole('list', { name: 'Past runs' })).getAllByRole(
        'listitem'
      ).length;
    expect(shown()).toBe(50);
    fireEvent.click(screen.getByText('Show 50 more'));
    expect(shown()).toBe(100);
    fireEvent.click(screen.getByText('Show 20 more'));
    expect(shown()).toBe(120);
  });
});
