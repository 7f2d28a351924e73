import { useEffect, useState } from 'react';

import { IProvenanceTest } from '../api';
import { reason } from '../model';
import { IStemma } from '../tokens';

export interface IChosenTest {
  test: IProvenanceTest | undefined;
  /** Why its curve could not be read; empty if it could. */
  problem: string;
}

/**
 * The test of this id with its curve.
 *
 * The list of tests leaves out the curves of those that are over; they are read when one is chosen.
 */
export function useTest(model: IStemma, id: string | null): IChosenTest {
  const [whole, setWhole] = useState<IProvenanceTest>();
  const [problem, setProblem] = useState('');
  const known = model.tests.find(test => test.id === id);
  const isOver = known !== undefined && known.state !== 'running';
  useEffect(() => {
    let isWanted = true;
    setProblem('');
    if (id !== null && isOver) {
      model.api.test(id).then(
        test => isWanted && setWhole(test),
        error => isWanted && setProblem(reason(error))
      );
    }
    return () => {
      isWanted = false;
    };
  }, [model, id, isOver]);
  return { test: isOver && whole?.id === id ? whole : known, problem };
}
