import { IProvenanceRequest, ProvenanceTest } from '../api';

/** What the user typed. */
export interface IFields {
  test: ProvenanceTest;
  transcript: string;
  suspect: string;
  reference: string;
  tokenizer: string;
  model_name: string;
  budget: string;
  stop: string;
  seed: string;
}

export const EMPTY: IFields = {
  test: 'query',
  transcript: '',
  suspect: '',
  reference: '',
  tokenizer: '',
  model_name: '',
  budget: '',
  stop: '0.001',
  seed: '0'
};

export type FieldErrors = Partial<Record<keyof IFields, string>>;

/** The request that the fields make; a partition leaves out what only a query knows. */
export function toRequest(fields: IFields): IProvenanceRequest {
  const isQuery = fields.test === 'query';
  const text = (value: string) => value.trim() || null;
  const number = (value: string) => (value.trim() ? Number(value) : null);
  return {
    test: fields.test,
    transcript: fields.transcript.trim(),
    suspect: fields.suspect.trim(),
    reference: isQuery ? text(fields.reference) : null,
    tokenizer: text(fields.tokenizer),
    model_name: isQuery ? text(fields.model_name) : null,
    budget: isQuery ? number(fields.budget) : null,
    stop: isQuery ? number(fields.stop) : null,
    seed: number(fields.seed) ?? 0
  };
}

/** The fields that would make this request again. */
export function toFields(request: IProvenanceRequest): IFields {
  const text = (value: string | number | null) => String(value ?? '');
  return {
    test: request.test,
    transcript: request.transcript,
    suspect: request.suspect,
    reference: text(request.reference),
    tokenizer: text(request.tokenizer),
    model_name: text(request.model_name),
    budget: text(request.budget),
    stop: text(request.stop),
    seed: text(request.seed)
  };
}

/** Everything that is wrong with the fields, each with what to do. */
export function check(fields: IFields): FieldErrors {
  const request = toRequest(fields);
  const errors: FieldErrors = {};
  if (!request.transcript) {
    errors.transcript = 'Give the folder of a transcript.';
  }
  if (!request.suspect) {
    errors.suspect =
      request.test === 'query'
        ? 'Give a model: a folder, a hub id or an address.'
        : 'Give a text file: .txt, .jsonl or .parquet.';
  }
  if (request.budget !== null && !isWhole(request.budget, 1)) {
    errors.budget = 'Give a whole number of at least 1, or leave it empty.';
  }
  if (request.stop !== null && !(request.stop > 0 && request.stop < 1)) {
    errors.stop = 'Give a number between 0 and 1, or leave it empty.';
  }
  if (!isWhole(request.seed, 0)) {
    errors.seed = 'Give a whole number of at least 0.';
  }
  return { ...errors, ...checkAddress(request) };
}

/** Whether the request asks an end point, which has to be told what to answer with. */
export function hasAddress({
  test,
  suspect,
  reference
}: Pick<IProvenanceRequest, 'test' | 'suspect' | 'reference'>): boolean {
  const isAddress = (name: string | null) => /^https?:\/\//.test(name ?? '');
  return test === 'query' && (isAddress(suspect) || isAddress(reference));
}

function checkAddress(request: IProvenanceRequest): FieldErrors {
  const errors: FieldErrors = {};
  if (hasAddress(request) && request.model_name === null) {
    errors.model_name = 'Give the name by which the end point knows its model.';
  }
  if (hasAddress(request) && request.tokenizer === null) {
    errors.tokenizer = 'An end point needs the tokenizer of the transcript.';
  }
  return errors;
}

function isWhole(value: number, least: number): boolean {
  return Number.isSafeInteger(value) && value >= least;
}
