import { framePromise } from '@jupyterlab/testutils';
import { Widget } from '@lumino/widgets';

import { FakeApi, paper } from '../../__tests__/fakes';
import { StemmaModel } from '../../model';
import { PaperPageWidget } from '../widget';

describe('PaperPageWidget', () => {
  it('has a title, and reads again when it is shown', async () => {
    const api = new FakeApi();
    api.pages.palimpsest = paper();
    const model = new StemmaModel(api, { standby: 'never' });
    const widget = new PaperPageWidget({
      model,
      slug: 'palimpsest',
      scale: 'small',
      actions: {
        openNotebook: jest.fn(),
        openMlflow: jest.fn(),
        openLog: jest.fn(),
        openExternal: jest.fn()
      }
    });
    const reads = () => api.asked.filter(call => call === 'paper').length;
    try {
      expect(widget.id).toBe('stemma-paper-palimpsest');
      expect(widget.title.label).toBe('palimpsest');
      expect(widget.title.closable).toBe(true);

      Widget.attach(widget, document.body);
      await settled();
      expect(widget.node.querySelector('h1')!.textContent).toBe(
        'Blackbox Model Provenance'
      );

      widget.hide();
      await settled();
      const before = reads();
      await model.refresh();
      await settled();
      expect(widget.title.label).toBe('Blackbox Model Provenance');
      expect(reads()).toBe(before);

      widget.show();
      await settled();
      expect(reads()).toBe(before + 1);
    } finally {
      widget.dispose();
      model.dispose();
    }
  });
});

/** Wait for what Lumino and React have put off. */
async function settled(): Promise<void> {
  for (let frames = 0; frames < 5; frames++) {
    await framePromise();
  }
}
