import React from 'react';

import { IPaper, IResult, IStemmaApi, Scale, SCALES } from '../api';
import { VerdictBadge, VERDICTS } from '../components/VerdictBadge';
import { IPageActions } from './actions';
import { ClaimsTable } from './ClaimsTable';
import { Figures } from './Figures';
import { isSame, toText } from './parameters';

/** The scales that draw conclusions come first. */
const PREFERRED: readonly Scale[] = ['small', 'gpu', 'paper', 'smoke'];

/** The scale to be shown first. */
export function preferredScale(paper: IPaper): Scale {
  const results = new Set(paper.latest.map(({ scale }) => scale));
  return PREFERRED.find(scale => results.has(scale)) ?? 'small';
}

export interface IResultsProps {
  api: IStemmaApi;
  paper: IPaper;
  scale: Scale;
  onChoose: (scale: Scale) => void;
  actions: IPageActions;
}

/** The claims at one scale with the latest result there, if there is one. */
export function Results(props: IResultsProps): JSX.Element {
  const { api, paper, scale, actions } = props;
  const result = paper.latest.find(latest => latest.scale === scale);
  const claims = result?.claims.length ? result.claims : paper.claims;
  return (
    <section className="st-Results" aria-label="Results">
      <h2>Results</h2>
      <ScaleChoice {...props} />
      {result ? (
        <ResultHead result={result} actions={actions} />
      ) : (
        <p>No result at {scale} yet.</p>
      )}
      {claims.length > 0 ? (
        <ClaimsTable
          scale={scale}
          claims={claims}
          untested={paper.untested[scale]}
        />
      ) : (
        <p>Its claims are not written down yet.</p>
      )}
      {result && result.figures.length > 0 && (
        <>
          <h3>Figures</h3>
          <Figures api={api} figures={result.figures} />
        </>
      )}
      {result && <Parameters paper={paper} result={result} />}
    </section>
  );
}

function ScaleChoice({ paper, scale, onChoose }: IResultsProps): JSX.Element {
  return (
    <div className="st-ResultScales" role="group" aria-label="Results at scale">
      {SCALES.map(choice => (
        <button
          key={choice}
          type="button"
          aria-pressed={choice === scale}
          onClick={() => onChoose(choice)}
        >
          {choice} <Tally paper={paper} scale={choice} />
        </button>
      ))}
    </div>
  );
}

function Tally({ paper, scale }: { paper: IPaper; scale: Scale }): JSX.Element {
  const result = paper.results.find(found => found.scale === scale);
  if (!result) {
    return <span className="st-Note">no result</span>;
  }
  const drawn = VERDICTS.filter(verdict => result.verdicts[verdict]);
  if (scale === 'smoke' || drawn.length === 0) {
    return <span className="st-Note">passed</span>;
  }
  return (
    <>
      {drawn.map(verdict => (
        <VerdictBadge
          key={verdict}
          verdict={verdict}
          count={result.verdicts[verdict]}
        />
      ))}
    </>
  );
}

interface IResultHeadProps {
  result: IResult;
  actions: IPageActions;
}

function ResultHead({ result, actions }: IResultHeadProps): JSX.Element {
  const { source, notebook, mlflow, scale } = result;
  return (
    <>
      <p className="st-Note">{source}</p>
      {scale === 'smoke' && (
        <p>Machinery passed. This scale draws no conclusion about a claim.</p>
      )}
      <div className="st-Buttons">
        {notebook !== null ? (
          <button
            type="button"
            className="jp-mod-styled jp-mod-reject"
            onClick={() => actions.openNotebook(notebook, false)}
          >
            Open executed notebook
          </button>
        ) : (
          <span className="st-Note">
            Its executed notebook cannot be opened here.
          </span>
        )}
        {mlflow !== null ? (
          <button
            type="button"
            className="jp-mod-styled jp-mod-reject"
            onClick={() => actions.openMlflow(mlflow)}
          >
            Open in MLflow
          </button>
        ) : (
          <span className="st-Note">It is not in MLflow.</span>
        )}
      </div>
    </>
  );
}

interface IParametersProps {
  paper: IPaper;
  result: IResult;
}

/** The values that a result was made with. */
function Parameters({ paper, result }: IParametersProps): JSX.Element {
  const known = new Map(paper.parameters.map(found => [found.name, found]));
  const values = Object.entries(result.parameters);
  return (
    <details>
      <summary>Parameters of this result ({values.length})</summary>
      <dl className="st-Values">
        {values.map(([name, value]) => {
          const standard = known.get(name)?.defaults[result.scale];
          const differs = standard !== undefined && !isSame(value, standard);
          return (
            <React.Fragment key={name}>
              <dt>
                <code>{name}</code>
              </dt>
              <dd>
                {toText(value)}
                {differs && (
                  <span className="st-Note">default: {toText(standard)}</span>
                )}
              </dd>
            </React.Fragment>
          );
        })}
      </dl>
    </details>
  );
}
