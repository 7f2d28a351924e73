import {
  act,
  fireEvent,
  render,
  screen,
  waitFor,
  within
} from '@testing-library/react';
import React from 'react';

import { FakeApi, paper, run } from '../../__tests__/fakes';
import { IPaper } from '../../api';
import { StemmaModel } from '../../model';
import { PaperPage } from '../PaperPage';
import { claim, figure, parameter, result } from './fakes';

const actions = {
  openNotebook: jest.fn(),
  openMlflow: jest.fn(),
  openLog: jest.fn(),
  openExternal: jest.fn()
};

let api: FakeApi;
let model: StemmaModel;

beforeEach(() => {
  jest.clearAllMocks();
  api = new FakeApi();
  model = new StemmaModel(api, { standby: 'never' });
});

afterEach(() => model.dispose());

function page(isShown = true) {
  return (
    <PaperPage
      model={model}
      slug="palimpsest"
      scale="small"
      actions={actions}
      isShown={isShown}
    />
  );
}

async function open(changes: Partial<IPaper> = {}) {
  api.pages.palimpsest = paper({
    parameters: [parameter({ minimum: 1 })],
    claims: [claim()],
    ...changes
  });
  const view = render(page());
  await screen.findByRole('heading', { level: 1 });
  return view;
}

function reads(): number {
  return api.asked.filter(call => call === 'paper').length;
}

function press(name: string): void {
  fireEvent.click(screen.getByRole('button', { name }));
}

describe('PaperPage', () => {
  it('shows what is known of the paper', async () => {
    await open({
      code: 'https://github.com/hij/model-provenance',
      version: 3,
      deviations: [{ id: 'D1', text: 'Smaller <b>models</b>.' }],
      defects: [{ id: 'B1', text: 'A seed is missing.' }]
    });
    expect(screen.getByRole('heading', { level: 1 }).textContent).toBe(
      'Blackbox Model Provenance'
    );
    expect(screen.getByRole('banner').textContent).toContain('version 3');
    fireEvent.click(screen.getByRole('link', { name: 'arXiv 2510.19796' }));
    fireEvent.click(screen.getByRole('link', { name: "authors' code" }));
    expect(actions.openExternal.mock.calls).toEqual([
      ['https://arxiv.org/abs/2510.19796'],
      ['https://github.com/hij/model-provenance']
    ]);
    expect(screen.getByText('Smaller <b>models</b>.')).toBeTruthy();
    expect(screen.getByText('A seed is missing.')).toBeTruthy();
  });

  it('says of a planned paper that it cannot be run', async () => {
    await open({ status: 'planned', parameters: [], claims: [] });
    expect(screen.getByText(/its notebook is not there yet/)).toBeTruthy();
    expect(screen.queryByRole('button', { name: 'Run' })).toBeNull();
    expect(screen.getByText(/claims are not written down yet/)).toBeTruthy();
  });

  it('runs with what the form holds, and again by force', async () => {
    await open();
    fireEvent.change(screen.getByLabelText('seeds'), {
      target: { value: '7' }
    });
    fireEvent.click(screen.getByRole('radio', { name: /smoke/ }));
    press('Run');
    await waitFor(() => expect(api.started).toHaveLength(1));
    await screen.findByText('queued');
    press('Run again');
    await waitFor(() => expect(api.started).toHaveLength(2));
    const request = {
      slug: 'palimpsest',
      scale: 'smoke',
      parameters: { seeds: 7 }
    };
    expect(api.started).toEqual([request, { ...request, force: true }]);
  });

  it('refuses to run while a field is wrong, and leads to it', async () => {
    await open();
    const seeds = screen.getByLabelText('seeds');
    fireEvent.change(seeds, { target: { value: '0' } });
    const button = screen.getByRole('button', { name: 'Run' });
    expect(button.getAttribute('aria-disabled')).toBe('true');
    const why = document.getElementById(
      button.getAttribute('aria-describedby')!
    );
    expect(why!.textContent).toBe('Not accepted: seeds.');
    press('Run');
    await waitFor(() => expect(document.activeElement).toBe(seeds));
    expect(api.asked).not.toContain('check');
    expect(api.started).toEqual([]);
  });

  it('shows what the server refuses', async () => {
    await open();
    api.errors = { seeds: 'must be odd', scale: 'no GPU here' };
    press('Run');
    await screen.findByText(/must be odd/);
    const seeds = screen.getByLabelText('seeds');
    expect(seeds.getAttribute('aria-invalid')).toBe('true');
    await waitFor(() => expect(document.activeElement).toBe(seeds));
    expect(screen.getByText('scale: no GPU here')).toBeTruthy();
    expect(api.started).toEqual([]);
  });

  it('shows why a run could not be started', async () => {
    await open();
    api.fail('start', 'The same run is going on.');
    press('Run');
    expect(await screen.findByText('The same run is going on.')).toBeTruthy();
    const button = screen.getByRole('button', { name: 'Run' });
    expect(button.getAttribute('aria-disabled')).toBe('false');
  });

  it('opens the notebook with the parameters', async () => {
    await open();
    press('Open notebook with these parameters');
    await waitFor(() =>
      expect(actions.openNotebook).toHaveBeenCalledWith(
        'runs/drafts/palimpsest.ipynb',
        true
      )
    );
  });

  it('follows a run, stops it, and shows its result', async () => {
    await open({ latest: [result({ claims: [claim()] })] });
    const id = 'b/one';
    const going = run({
      id,
      progress: { cell: 2, cells: 4, heading: 'Data', done: 0, total: 0 }
    });
    act(() => model.receive({ kind: 'run', run: going }));
    expect(screen.getByText(': Data')).toBeTruthy();
    press('Stop palimpsest at smoke');
    await waitFor(() => expect(api.asked).toContain('cancel'));

    const source = 'run here, just now';
    api.pages.palimpsest = paper({
      latest: [result(), result({ scale: 'smoke', source })]
    });
    const before = reads();
    act(() =>
      model.receive({ kind: 'run', run: { ...going, state: 'succeeded' } })
    );
    expect(await screen.findByText(source)).toBeTruthy();
    expect(screen.getByText(/Machinery passed/)).toBeTruthy();
    expect(reads()).toBeGreaterThan(before);
  });

  it('draws nothing for runs of other papers', async () => {
    await open();
    const other = run({ slug: 'other', id: 'b/two' });
    act(() => model.receive({ kind: 'run', run: other }));
    expect(screen.queryByRole('status')).toBeNull();
    expect(reads()).toBe(1);
  });

  it('reads nothing while it is hidden and makes up for it', async () => {
    const { rerender } = await open();
    rerender(page(false));
    api.pages.palimpsest = paper({ title: 'A new title' });
    await act(() => model.refresh());
    await act(() => model.refresh());
    expect(reads()).toBe(1);
    rerender(page());
    expect(await screen.findByText('A new title')).toBeTruthy();
    expect(reads()).toBe(2);
  });

  it('keeps what was typed when the paper is read anew', async () => {
    await open();
    fireEvent.change(screen.getByLabelText('seeds'), {
      target: { value: '7' }
    });
    api.pages.palimpsest = { ...api.pages.palimpsest, title: 'A new title' };
    await act(() => model.refresh());
    await screen.findByText('A new title');
    expect(screen.getByLabelText<HTMLInputElement>('seeds').value).toBe('7');
  });

  it('says why the paper could not be read, and tries again', async () => {
    api.pages.palimpsest = paper();
    api.fail('paper', 'no paper `palimpsest`');
    render(page());
    const alert = await screen.findByRole('alert');
    expect(alert.textContent).toContain('no paper `palimpsest`');
    press('Try again');
    expect(await screen.findByRole('heading', { level: 1 })).toBeTruthy();
    expect(screen.queryByText(/could not be read/)).toBeNull();
  });
});

describe('the results on it', () => {
  const latest = [
    result({
      claims: [claim({ verdict: 'trend holds', reason: 'it does' })],
      parameters: { seeds: 6 },
      notebook: 'runs/out/executed.ipynb',
      mlflow: '/#/experiments/1/runs/a',
      figures: [figure({ url: null })]
    })
  ];

  it('opens the executed notebook and the run in MLflow', async () => {
    await open({ latest });
    press('Open executed notebook');
    press('Open in MLflow');
    expect(actions.openNotebook).toHaveBeenCalledWith(
      'runs/out/executed.ipynb',
      false
    );
    expect(actions.openMlflow).toHaveBeenCalledWith('/#/experiments/1/runs/a');
    expect(screen.getByText('default: 5')).toBeTruthy();
    expect(screen.getByText('The curve.')).toBeTruthy();
  });

  it('says what cannot be opened', async () => {
    await open({ latest: [result()] });
    expect(screen.getByText(/notebook cannot be opened here/)).toBeTruthy();
    expect(screen.getByText('It is not in MLflow.')).toBeTruthy();
  });

  it('shows each scale: a result, or what the scale cannot test', async () => {
    const untested = { smoke: {}, small: {}, gpu: {}, paper: {} };
    await open({
      latest,
      results: [
        {
          scale: 'small',
          verdicts: { 'trend holds': 1 },
          origin: 'run here'
        }
      ],
      untested: { ...untested, gpu: { C1: 'needs a cluster' } }
    });
    const scales = screen.getByRole('group', { name: 'Results at scale' });
    const [, small, gpu, whole] = within(scales).getAllByRole('button');
    expect(small.getAttribute('aria-pressed')).toBe('true');
    expect(within(small).getByLabelText('1 trend holds')).toBeTruthy();
    fireEvent.click(gpu);
    expect(screen.getByText('No result at gpu yet.')).toBeTruthy();
    expect(screen.getByText(/needs a cluster/)).toBeTruthy();
    fireEvent.click(whole);
    expect(screen.getByText('not run yet at this scale')).toBeTruthy();
  });

  it('goes with the scale that is chosen in the form', async () => {
    await open({ latest });
    fireEvent.click(screen.getByRole('radio', { name: /gpu/ }));
    expect(screen.getByText('No result at gpu yet.')).toBeTruthy();
  });
});
