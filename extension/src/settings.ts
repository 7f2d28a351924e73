import { ISettingRegistry } from '@jupyterlab/settingregistry';

import { Scale } from './api';

/** What a user can set; `schema/commands.json` describes it. */
export interface IStemmaSettings {
  /** The scale that a form proposes. */
  scale: Scale;
  /** Where MLflow is opened. */
  mlflow: 'lab' | 'browser';
}

export const DEFAULTS: IStemmaSettings = { scale: 'small', mlflow: 'lab' };

/** Return the settings, kept up to date; the defaults where there is no registry. */
export async function loadSettings(
  registry: ISettingRegistry | null,
  pluginId: string
): Promise<() => IStemmaSettings> {
  if (!registry) {
    return () => DEFAULTS;
  }
  try {
    const settings = await registry.load(pluginId);
    return () => settings.composite as unknown as IStemmaSettings;
  } catch (error) {
    console.warn('Stemma: the settings could not be read', error);
    return () => DEFAULTS;
  }
}
