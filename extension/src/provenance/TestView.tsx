import { stopIcon } from '@jupyterlab/ui-components';
import React, { useState } from 'react';

import { IProvenanceRequest, IProvenanceTest } from '../api';
import { reason } from '../model';
import { CurvePicture } from './CurvePicture';
import { formatP } from './words';

export interface ITestViewProps {
  test: IProvenanceTest;
  cancel: (test: IProvenanceTest) => Promise<void>;
  /** Fill the form with the parameters of this test. */
  reuse: (request: IProvenanceRequest) => void;
  openPath: (path: string) => void;
}

/** One test: how far it is, what it found, and what that does not prove. */
export function TestView(props: ITestViewProps): JSX.Element {
  const { test, reuse, openPath } = props;
  const { request } = test;
  return (
    <section className="st-Test" aria-label="Chosen test">
      <div aria-live="polite">
        <Finding test={test} />
      </div>
      {test.state === 'running' && <Stop {...props} />}
      {test.curve.length > 0 && (
        <figure className="st-Test-curve">
          <CurvePicture curve={test.curve} budget={request.budget} />
          <figcaption>{caption(test)}</figcaption>
        </figure>
      )}
      <div className="st-Test-actions">
        {test.evidence !== null && (
          <button
            className="jp-mod-styled"
            title={test.evidence}
            onClick={() => openPath(test.evidence!)}
          >
            Open signed evidence
          </button>
        )}
        <button className="jp-mod-styled" onClick={() => reuse(request)}>
          Use these parameters
        </button>
      </div>
      {test.evidence !== null && (
        <p className="st-Test-note">
          Saved as <code>{test.evidence}</code>; anyone can check it with{' '}
          <code>stemma provenance verify</code>.
        </p>
      )}
      <Parameters request={request} />
    </section>
  );
}

function Finding({ test }: { test: IProvenanceTest }): JSX.Element {
  if (test.state === 'running') {
    return <p className="st-Test-state">Running …</p>;
  }
  if (test.p_value === null) {
    return (
      <p className="st-Problem">
        {capital(test.state)}
        {test.message && `: ${test.message}`}
      </p>
    );
  }
  return (
    <>
      <p className="st-Test-p">p = {formatP(test.p_value)}</p>
      <p className="st-Test-verdict">{test.verdict}</p>
      {test.caveats.length > 0 && (
        <details>
          <summary>What no such test proves</summary>
          <ul>
            {test.caveats.map(caveat => (
              <li key={caveat}>{caveat}</li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

function Stop({ test, cancel }: ITestViewProps): JSX.Element {
  const [isStopping, setIsStopping] = useState(false);
  const [problem, setProblem] = useState('');
  const stop = async () => {
    setIsStopping(true);
    setProblem('');
    try {
      await cancel(test);
    } catch (error) {
      setProblem(reason(error));
    }
    setIsStopping(false);
  };
  return (
    <>
      <button
        className="jp-mod-styled st-Test-stop"
        disabled={isStopping}
        onClick={() => void stop()}
      >
        <stopIcon.react tag="span" elementSize="normal" />
        {isStopping ? 'Stopping …' : 'Stop'}
      </button>
      {problem && (
        <div className="st-Problem" role="alert">
          {problem}
        </div>
      )}
    </>
  );
}

/** Whether the curve may be acted upon depends on how it was made. */
function caption({ request, state }: IProvenanceTest): string {
  if (request.stop !== null) {
    return 'Anytime-valid p-value: it may be watched.';
  }
  return state === 'running'
    ? 'So far only: do not stop for what you see here; the last p-value alone counts.'
    : 'So far, while asking; the last p-value alone counts.';
}

function Parameters({ request }: { request: IProvenanceRequest }): JSX.Element {
  const given = LABELS.filter(([name]) => request[name] !== null);
  return (
    <table className="st-Test-parameters" aria-label="Parameters">
      <tbody>
        {given.map(([name, label]) => (
          <tr key={name}>
            <th scope="row">{label}</th>
            <td>{request[name]}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const LABELS: readonly [keyof IProvenanceRequest, string][] = [
  ['test', 'Test'],
  ['transcript', 'Transcript'],
  ['suspect', 'Suspect'],
  ['reference', 'Reference'],
  ['model_name', 'Model name'],
  ['tokenizer', 'Tokenizer'],
  ['budget', 'Budget'],
  ['stop', 'Stop at p'],
  ['seed', 'Seed']
];

function capital(word: string): string {
  return word[0].toUpperCase() + word.slice(1);
}
