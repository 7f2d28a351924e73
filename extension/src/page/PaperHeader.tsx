import React from 'react';

import { IPaper } from '../api';

export interface IPaperHeaderProps {
  paper: IPaper;
  onOpen: (url: string) => void;
}

/** What a paper is. */
export function PaperHeader({ paper, onOpen }: IPaperHeaderProps): JSX.Element {
  const { title, arxiv, year, slug, tags, version, code, summary } = paper;
  return (
    <header className="st-PaperHeader">
      <h1>{title}</h1>
      <p className="st-Note">
        <ExternalLink
          url={`https://arxiv.org/abs/${arxiv}`}
          text={`arXiv ${arxiv}`}
          onOpen={onOpen}
        />{' '}
        ({year}) · <code>{slug}</code> · version {version}
        {code && (
          <>
            {' · '}
            <ExternalLink url={code} text="authors' code" onOpen={onOpen} />
          </>
        )}
      </p>
      <ul className="st-Tags" aria-label="Tags">
        {tags.map(tag => (
          <li key={tag}>{tag}</li>
        ))}
      </ul>
      <p>{summary}</p>
    </header>
  );
}

interface IExternalLinkProps {
  url: string;
  text: string;
  onOpen: (url: string) => void;
}

function ExternalLink({ url, text, onOpen }: IExternalLinkProps): JSX.Element {
  return (
    <a
      href={url}
      target="_blank"
      rel="noopener noreferrer"
      onClick={event => {
        event.preventDefault();
        onOpen(url);
      }}
    >
      {text}
    </a>
  );
}
