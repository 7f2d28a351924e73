import { Dialog, showDialog } from '@jupyterlab/apputils';
import React, { useEffect, useRef, useState } from 'react';

import { IFigure, IStemmaApi } from '../api';
import { reason } from '../model';

export interface IFiguresProps {
  api: Pick<IStemmaApi, 'picture'>;
  figures: readonly IFigure[];
}

/** The figures of a result; those of a committed result are captions only. */
export function Figures({ api, figures }: IFiguresProps): JSX.Element {
  const kept = figures.filter(figure => figure.url !== null);
  const lost = figures.filter(figure => figure.url === null);
  return (
    <>
      {kept.length > 0 && (
        <div className="st-Figures">
          {kept.map(figure => (
            <Picture key={figure.url} api={api} figure={figure} />
          ))}
        </div>
      )}
      {lost.length > 0 && (
        <>
          <p>
            The pictures are not kept here; a run at this scale draws these:
          </p>
          <ul>
            {lost.map(figure => (
              <li key={figure.name}>{figure.caption}</li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}

interface IPictureProps {
  api: Pick<IStemmaApi, 'picture'>;
  figure: IFigure;
}

function Picture({ api, figure }: IPictureProps): JSX.Element {
  const place = useRef<HTMLElement>(null);
  const isNear = useIsNear(place);
  const { address, problem } = usePicture(api, isNear ? figure.url : null);
  const { caption } = figure;
  return (
    <figure className="st-Figure" ref={place}>
      {address ? (
        <button
          type="button"
          className="st-Figure-open"
          aria-label={`Enlarge: ${caption}`}
          onClick={() => enlarge(address, caption)}
        >
          <img src={address} alt={caption} />
        </button>
      ) : (
        <div className="st-Figure-place">
          {problem || 'Loading the picture'}
        </div>
      )}
      <figcaption>{caption}</figcaption>
    </figure>
  );
}

function enlarge(address: string, caption: string): void {
  void showDialog({
    title: caption,
    body: (
      <div className="st-Figure-large">
        <img src={address} alt={caption} />
      </div>
    ),
    buttons: [Dialog.okButton({ label: 'Close' })]
  });
}

/** Whether an element has come near the visible part of the page. */
function useIsNear(place: React.RefObject<HTMLElement>): boolean {
  const [isNear, setIsNear] = useState(
    () => typeof IntersectionObserver === 'undefined'
  );
  useEffect(() => {
    if (isNear || !place.current) {
      return;
    }
    const observer = new IntersectionObserver(
      entries => {
        if (entries.some(entry => entry.isIntersecting)) {
          setIsNear(true);
        }
      },
      { rootMargin: '200px' }
    );
    observer.observe(place.current);
    return () => observer.disconnect();
  }, [isNear, place]);
  return isNear;
}

interface IPictureState {
  address: string;
  problem: string;
}

const EMPTY: IPictureState = { address: '', problem: '' };

/** A picture that only the lab's own connection may fetch, as an address for `<img>`. */
function usePicture(
  api: Pick<IStemmaApi, 'picture'>,
  url: string | null
): IPictureState {
  const [state, setState] = useState(EMPTY);
  useEffect(() => {
    let address = '';
    let isOver = false;
    const load = async () => {
      if (url === null) {
        return;
      }
      try {
        const blob = await api.picture(url);
        if (!isOver) {
          address = URL.createObjectURL(blob);
          setState({ address, problem: '' });
        }
      } catch (error) {
        const problem = `The picture could not be loaded: ${reason(error)}`;
        setState({ address: '', problem });
      }
    };
    void load();
    return () => {
      isOver = true;
      if (address) {
        URL.revokeObjectURL(address);
      }
    };
  }, [api, url]);
  return state;
}
