import { check, EMPTY, IFields, toFields, toRequest } from '../form';

const GOOD: IFields = {
  ...EMPTY,
  transcript: ' runs/transcript ',
  suspect: 'owner/model'
};

describe('form', () => {
  it('makes a request of what was typed', () => {
    expect(check(GOOD)).toEqual({});
    expect(toRequest({ ...GOOD, budget: '300', stop: '' })).toEqual({
      test: 'query',
      transcript: 'runs/transcript',
      suspect: 'owner/model',
      reference: null,
      tokenizer: null,
      model_name: null,
      budget: 300,
      stop: null,
      seed: 0
    });
  });

  it('makes the same request again of a request', () => {
    const request = toRequest({ ...GOOD, reference: 'runs/r', seed: '7' });
    expect(toRequest(toFields(request))).toEqual(request);
  });

  it('leaves out of a partition what only a query knows', () => {
    const fields: IFields = { ...GOOD, test: 'partition', reference: 'r' };
    const request = toRequest({ ...fields, budget: 'x', model_name: 'm' });
    expect(request).toMatchObject({
      reference: null,
      model_name: null,
      budget: null,
      stop: null
    });
  });

  it.each<[keyof IFields, string]>([
    ['transcript', ' '],
    ['suspect', ''],
    ['budget', '0'],
    ['budget', '1.5'],
    ['budget', 'many'],
    ['stop', '0'],
    ['stop', '1'],
    ['stop', '5 %'],
    ['seed', '-1']
  ])('refuses %s = %p', (name, value) => {
    expect(Object.keys(check({ ...GOOD, [name]: value }))).toEqual([name]);
  });

  it('asks of an end point its model and tokenizer', () => {
    const fields = { ...GOOD, reference: 'http://127.0.0.1:8000/v1' };
    expect(Object.keys(check(fields)).sort()).toEqual([
      'model_name',
      'tokenizer'
    ]);
    const whole = { ...fields, model_name: 'm', tokenizer: 'runs/t' };
    expect(check(whole)).toEqual({});
  });
});
