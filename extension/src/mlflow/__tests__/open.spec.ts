import { FakeApi } from '../../__tests__/fakes';
import { ownAddress, server } from '../open';

const noSleep = async () => undefined;

describe('server', () => {
  it('waits until the server answers', async () => {
    const api = new FakeApi();
    let asked = 0;
    api.mlflow = async start => {
      api.asked.push(start ? 'start' : 'look');
      asked += 1;
      return {
        url: asked > 3 ? 'http://127.0.0.1:5000' : null,
        own: true,
        message: ''
      };
    };
    expect((await server(api, noSleep)).url).toBe('http://127.0.0.1:5000');
    expect(api.asked).toEqual(['start', 'look', 'look', 'look']);
  });

  it('gives up with the reason', async () => {
    const api = new FakeApi();
    api.server = { url: null, own: false, message: 'port 5000 is taken' };
    await expect(server(api, noSleep)).rejects.toThrow(
      'MLflow does not answer: port 5000 is taken'
    );
  });
});

describe('ownAddress', () => {
  it('calls the machine as the browser calls the lab', () => {
    const url = 'http://127.0.0.1:5001';
    expect(ownAddress(url, 'localhost')).toBe('http://localhost:5001');
    expect(ownAddress(url, '127.0.0.1')).toBe(url);
  });

  it('says what to do if the browser is elsewhere', () => {
    expect(() => ownAddress('http://127.0.0.1:5001', 'hub.example')).toThrow(
      'StemmaLab.mlflow_url'
    );
  });
});
