import { CommandRegistry } from '@lumino/commands';
import { act, render, screen } from '@testing-library/react';
import React from 'react';

import { FakeApi, run } from '../../__tests__/fakes';
import { StemmaModel } from '../../model';
import { Status } from '../status';

it('counts the running notebooks', () => {
  const model = new StemmaModel(new FakeApi(), { standby: 'never' });
  render(<Status model={model} commands={new CommandRegistry()} />);
  act(() => {
    model.receive({ kind: 'run', run: run({ id: 'b/1' }) });
    model.receive({ kind: 'run', run: run({ id: 'b/2', state: 'queued' }) });
    model.receive({ kind: 'run', run: run({ id: 'b/3', state: 'failed' }) });
  });
  expect(screen.getByRole('button').textContent).toBe('Stemma: 2 running');
  model.dispose();
});
