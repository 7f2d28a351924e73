import { Signal } from '@lumino/signaling';
import { act, render } from '@testing-library/react';
import React, { useLayoutEffect } from 'react';

import { useSignals } from '../useSignals';

const owner = {};

function Value(props: {
  source: { value: number; changed: Signal<object, void> };
  onLayout?: () => void;
}): JSX.Element {
  useSignals(props.source.changed);
  useLayoutEffect(() => props.onLayout?.(), []);
  return <p>{props.source.value}</p>;
}

describe('useSignals', () => {
  it('renders anew when a signal is emitted', () => {
    const source = { value: 1, changed: new Signal<object, void>(owner) };
    const { container } = render(<Value source={source} />);
    source.value = 2;
    act(() => source.changed.emit());
    expect(container.textContent).toBe('2');
  });

  it('misses nothing that happens before it listens', () => {
    const source = { value: 1, changed: new Signal<object, void>(owner) };
    const change = () => {
      source.value = 2;
      source.changed.emit();
    };
    const { container } = render(<Value source={source} onLayout={change} />);
    expect(container.textContent).toBe('2');
  });
});
