import React from 'react';

import { IProvenanceTest } from '../api';
import { moment } from '../time';
import { shortName, stateInWords } from './words';

export interface ITestListProps {
  tests: readonly IProvenanceTest[];
  chosen: string | null;
  onChoose: (id: string) => void;
}

/** The tests so far; one of them is chosen. */
export function TestList({
  tests,
  chosen,
  onChoose
}: ITestListProps): JSX.Element {
  return (
    <ul className="st-List" aria-label="Tests of descent">
      {tests.map(test => (
        <li key={test.id}>
          <button
            className="st-TestItem"
            aria-pressed={test.id === chosen}
            title={test.request.suspect}
            onClick={() => onChoose(test.id)}
          >
            <span className="st-TestItem-name">
              {shortName(test.request.suspect)}
            </span>{' '}
            <span className="st-TestItem-facts">
              {moment(test.started)} {test.request.test}: {stateInWords(test)}
            </span>
          </button>
        </li>
      ))}
    </ul>
  );
}
