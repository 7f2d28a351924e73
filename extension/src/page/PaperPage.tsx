import React, { useEffect, useState } from 'react';

import { INote, IPaper, IRun, Scale } from '../api';
import { IStemma } from '../tokens';
import { IPageActions } from './actions';
import { PaperHeader } from './PaperHeader';
import { preferredScale, Results } from './Results';
import { RunPanel } from './RunPanel';
import { usePaper } from './usePaper';
import { useParameterForm } from './useParameterForm';

export interface IPaperPageProps {
  model: IStemma;
  slug: string;
  /** The scale that the form proposes. */
  scale: Scale;
  actions: IPageActions;
  /** Whether the page is in sight; out of it nothing is read and no clock ticks. */
  isShown: boolean;
}

/** One paper: what it claims, a form to run its notebook, what was measured. */
export function PaperPage(props: IPaperPageProps): JSX.Element {
  const { model, slug, isShown } = props;
  const { paper, problem, finished, read } = usePaper(model, slug, isShown);
  return (
    <div className="st-PaperPage">
      {problem && (
        <p className="st-Problem" role="alert">
          The paper could not be read: {problem}{' '}
          <button type="button" className="st-Link" onClick={read}>
            Try again
          </button>
        </p>
      )}
      {paper ? (
        <Page {...props} paper={paper} finished={finished} />
      ) : (
        !problem && <p role="status">Reading the paper …</p>
      )}
    </div>
  );
}

interface IPageProps extends IPaperPageProps {
  paper: IPaper;
  finished: IRun | null;
}

function Page({
  model,
  paper,
  scale: proposed,
  finished,
  actions,
  isShown
}: IPageProps): JSX.Element {
  const form = useParameterForm(paper.parameters, proposed);
  const [scale, setScale] = useState(() => preferredScale(paper));
  useEffect(() => {
    if (finished) {
      setScale(finished.scale);
    }
  }, [finished]);
  const chooseScale = (chosen: Scale) => {
    form.setScale(chosen);
    // What this scale can test should be known before it is run.
    setScale(chosen);
  };
  return (
    <>
      <PaperHeader paper={paper} onOpen={actions.openExternal} />
      {paper.status === 'planned' ? (
        <p>
          This paper is planned: its notebook is not there yet and it cannot be
          run. What is known so far stands below.
        </p>
      ) : (
        <RunPanel
          model={model}
          paper={paper}
          form={{ ...form, setScale: chooseScale }}
          actions={actions}
          isShown={isShown}
        />
      )}
      <Results
        api={model.api}
        paper={paper}
        scale={scale}
        onChoose={setScale}
        actions={actions}
      />
      <Notes title="Deviations from the paper" notes={paper.deviations} />
      <Notes title="Defects found in the authors' code" notes={paper.defects} />
    </>
  );
}

interface INotesProps {
  title: string;
  notes: INote[];
}

function Notes({ title, notes }: INotesProps): JSX.Element | null {
  if (notes.length === 0) {
    return null;
  }
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      <dl className="st-Notes">
        {notes.map(({ id, text }) => (
          <React.Fragment key={id}>
            <dt>{id}</dt>
            <dd>{text}</dd>
          </React.Fragment>
        ))}
      </dl>
    </section>
  );
}
