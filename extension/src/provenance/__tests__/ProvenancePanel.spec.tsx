import { act, fireEvent, render, screen, within } from '@testing-library/react';
import React from 'react';

import { FakeApi, provenanceTest } from '../../__tests__/fakes';
import { IProvenanceTest } from '../../api';
import { StemmaModel } from '../../model';
import { ProvenancePanel } from '../ProvenancePanel';

const DONE: Partial<IProvenanceTest> = {
  state: 'succeeded',
  p_value: 1.2e-7,
  verdict: 'suspect: strong evidence of dependence.',
  caveats: ['Sharing weights.'],
  evidence: 'runs/provenance/t1/evidence.json'
};
const CURVE = [
  { examples: 8, p_value: 0.4 },
  { examples: 64, p_value: 1.2e-7 }
];

let api: FakeApi;
let model: StemmaModel;
let opened: string[];

beforeEach(() => {
  api = new FakeApi();
  model = new StemmaModel(api, { standby: 'never' });
  opened = [];
});

afterEach(() => model.dispose());

async function show(...tests: IProvenanceTest[]): Promise<void> {
  api.allTests = tests;
  render(
    <ProvenancePanel model={model} openPath={path => opened.push(path)} />
  );
  await act(() => model.refresh());
}

function type(label: string, value: string): void {
  fireEvent.change(screen.getByLabelText(label), { target: { value } });
}

async function press(name: string | RegExp): Promise<void> {
  await act(async () => {
    fireEvent.click(screen.getByRole('button', { name }));
  });
}

describe('ProvenancePanel', () => {
  it('starts nothing while something is wrong, and says what', async () => {
    await show();
    type('Budget', '-3');
    await press('Start');
    const alerts = screen.getAllByRole('alert').map(node => node.textContent);
    expect(alerts).toHaveLength(3);
    expect(alerts).toContain(
      'Give a whole number of at least 1, or leave it empty.'
    );
    expect(api.asked).not.toContain('startTest');
    expect(screen.getByLabelText('Budget').getAttribute('aria-invalid')).toBe(
      'true'
    );
  });

  it('starts a test and follows its curve as it comes in', async () => {
    await show();
    type('Transcript', 'runs/transcript');
    type('Suspect', 'runs/suspect');
    await press('Start');
    expect(api.asked).toContain('startTest');
    const view = within(screen.getByRole('region', { name: 'Chosen test' }));
    expect(view.getByText('Running …')).toBeTruthy();
    expect(view.queryByRole('img')).toBeNull();
    const test = provenanceTest({ id: 'started', curve: CURVE });
    act(() => model.receive({ kind: 'provenance', test }));
    expect(view.getByRole('img').getAttribute('aria-label')).toContain(
      '1.2e-7 after 64'
    );
    expect(view.getByText(/the last p-value alone counts/)).toBeTruthy();
  });

  it('shows why the server refused a test', async () => {
    await show();
    type('Transcript', 'runs/nothing');
    type('Suspect', 'owner/model');
    api.fail('startTest', 'nothing is there');
    await press('Start');
    expect(screen.getByRole('alert').textContent).toBe('nothing is there');
  });

  it('stops a running test', async () => {
    await show(provenanceTest());
    await press(/suspect/);
    api.allTests = [provenanceTest({ state: 'cancelled' })];
    await press('Stop');
    expect(api.asked).toContain('cancelTest');
    expect(screen.getByText('Cancelled')).toBeTruthy();
    expect(screen.queryByRole('button', { name: 'Stop' })).toBeNull();
  });

  it('shows a finding, what it does not prove, and its evidence', async () => {
    await show(provenanceTest({ ...DONE, curve: [] }));
    api.allTests = [provenanceTest({ ...DONE, curve: CURVE })];
    await press(/suspect/);
    expect(api.asked.filter(name => name === 'test')).toHaveLength(1);
    const view = within(screen.getByRole('region', { name: 'Chosen test' }));
    expect(view.getByText('p = 1.2e-7')).toBeTruthy();
    expect(view.getByText(DONE.verdict!)).toBeTruthy();
    expect(view.getByText('Sharing weights.')).toBeTruthy();
    expect(view.getByRole('img')).toBeTruthy();
    await press('Open signed evidence');
    expect(opened).toEqual([DONE.evidence]);
  });

  it('says why a test failed, as text', async () => {
    const message = '<img src=x onerror=alert(1)> cannot load';
    await show(provenanceTest({ state: 'failed', message }));
    await press(/failed/);
    expect(screen.getByText(`Failed: ${message}`)).toBeTruthy();
    expect(document.querySelector('img')).toBeNull();
  });

  it('fills the form with the parameters of a former test', async () => {
    await show(provenanceTest(DONE));
    await press(/suspect/);
    await press('Use these parameters');
    const field = screen.getByLabelText('Suspect') as HTMLInputElement;
    expect(field.value).toBe('runs/suspect');
  });

  it('asks a text for no reference and no budget', async () => {
    await show();
    fireEvent.click(screen.getByRole('radio', { name: /Only a text/ }));
    expect(screen.getByLabelText('Text')).toBeTruthy();
    expect(screen.queryByLabelText('Budget')).toBeNull();
    expect(screen.queryByLabelText(/Reference/)).toBeNull();
  });

  it('offers transcripts once the field is used, and not before', async () => {
    await show();
    expect(api.asked).not.toContain('transcripts');
    const field = screen.getByLabelText('Transcript');
    await act(async () => fireEvent.focus(field));
    await act(async () => fireEvent.focus(field));
    expect(api.asked.filter(name => name === 'transcripts')).toHaveLength(1);
    expect(document.querySelector('option')?.value).toBe('runs/transcript');
  });
});
