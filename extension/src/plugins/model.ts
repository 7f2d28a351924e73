import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';

import { Activity, EVENT_SCHEMA, StemmaApi } from '../api';
import { StemmaModel } from '../model';
import { IStemma } from '../tokens';

/** Provides the model, fed by Jupyter's event bus. */
export const modelPlugin: JupyterFrontEndPlugin<IStemma> = {
  id: 'stemma_lab:model',
  description: 'Keeps papers, runs and tests of descent up to date.',
  autoStart: true,
  provides: IStemma,
  activate: (app: JupyterFrontEnd) => {
    const { serviceManager } = app;
    const model = new StemmaModel(new StemmaApi(serviceManager.serverSettings));
    serviceManager.events.stream.connect((_, event) => {
      if (event.schema_id === EVENT_SCHEMA) {
        model.receive(event as unknown as Activity);
      }
    });
    serviceManager.connectionFailure.connect(() => model.lostConnection());
    return model;
  }
};
