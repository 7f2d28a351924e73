import { IParameter } from '../../api';

export function parameter(fields: Partial<IParameter> = {}): IParameter {
  return {
    name: 'seeds',
    type: 'int',
    defaults: { smoke: 2, small: 5, gpu: 5, paper: 5 },
    help: 'Master seeds.',
    unit: null,
    minimum: null,
    maximum: null,
    choices: null,
    ...fields
  };
}
