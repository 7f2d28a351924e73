import React, { useState } from 'react';

import { IProvenanceRequest } from '../api';
import { useSignals } from '../components/useSignals';
import { IStemma } from '../tokens';
import { EMPTY, toFields } from './form';
import { TestForm } from './TestForm';
import { TestList } from './TestList';
import { TestView } from './TestView';
import { useTest } from './useTest';

export interface IProvenancePanelProps {
  model: IStemma;
  openPath: (path: string) => void;
}

/** Was this model, or this text, derived from that training run? */
export function ProvenancePanel({
  model,
  openPath
}: IProvenancePanelProps): JSX.Element {
  useSignals(model.testsChanged);
  const [chosen, setChosen] = useState<string | null>(null);
  const [form, setForm] = useState({ fields: EMPTY, number: 0 });
  const { test, problem } = useTest(model, chosen);
  const start = async (request: IProvenanceRequest) =>
    setChosen((await model.startTest(request)).id);
  const reuse = (request: IProvenanceRequest) =>
    setForm({ fields: toFields(request), number: form.number + 1 });
  return (
    <div className="st-Section st-Provenance">
      <TestForm
        key={form.number}
        initial={form.fields}
        transcripts={() => model.api.transcripts()}
        start={start}
      />
      {problem && (
        <div className="st-Problem" role="alert">
          {problem}
        </div>
      )}
      {test && (
        <TestView
          key={test.id}
          test={test}
          cancel={one => model.cancelTest(one)}
          reuse={reuse}
          openPath={openPath}
        />
      )}
      {model.isReady && model.tests.length === 0 && (
        <p className="st-Count">No test yet.</p>
      )}
      <TestList tests={model.tests} chosen={chosen} onChoose={setChosen} />
    </div>
  );
}
