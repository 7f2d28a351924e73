import { IBar, ICell, IClaim, IFigure, IParameter, IResult } from '../../api';

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

export function bar(fields: Partial<IBar> = {}): IBar {
  return {
    estimate: 120,
    low: 90,
    high: 150,
    marks: [60],
    claimed: [60, 232],
    open_low: false,
    open_high: false,
    text: 'estimate 0.12, interval [0.1, 0.14]; claimed above 0',
    ...fields
  };
}

export function cell(fields: Partial<ICell> = {}): ICell {
  return {
    cell: '',
    text: '0.12 [0.1, 0.14]',
    how: 'n = 5, t, 95 %',
    verdict: 'trend holds',
    bar: null,
    ...fields
  };
}

export function claim(fields: Partial<IClaim> = {}): IClaim {
  return {
    id: 'C1',
    statement: 'Order is remembered.',
    paper_value: 'rho = 0.1',
    unit: '',
    where: 'Table 2',
    statistic: 'rank correlation',
    verdict: null,
    reason: '',
    cells: [],
    ...fields
  };
}

export function figure(fields: Partial<IFigure> = {}): IFigure {
  return {
    name: 'curve',
    caption: 'The curve.',
    url: 'runs/b1/r1/figures/curve.png',
    ...fields
  };
}

export function result(fields: Partial<IResult> = {}): IResult {
  return {
    scale: 'small',
    source: 'run here, 2026-11-20, commit 0123456, cpu, 3.0 min',
    parameters: {},
    claims: [],
    figures: [],
    notebook: null,
    mlflow: null,
    ...fields
  };
}
