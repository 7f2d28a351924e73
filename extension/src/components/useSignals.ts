import { ISignal } from '@lumino/signaling';
import { useEffect, useState } from 'react';

/** Render anew whenever one of the signals is emitted. */
export function useSignals(
  ...signals: readonly ISignal<unknown, unknown>[]
): void {
  const [, setCount] = useState(0);
  useEffect(() => {
    const renew = () => setCount(count => count + 1);
    signals.forEach(signal => signal.connect(renew));
    // What was emitted between the first rendering and now was heard by nobody.
    renew();
    return () => signals.forEach(signal => signal.disconnect(renew));
  }, signals);
}
