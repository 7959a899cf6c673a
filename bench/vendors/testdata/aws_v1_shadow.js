// A thing with the vendor's first SDK: its classic shadow as a device keeps it,
// and the update that is desired there.
'use strict';
const { thingShadow } = require('aws-iot-device-sdk');

const { HOST, PORT, CA, CERT, KEY } = process.env;
const thing = thingShadow({ host: HOST, port: Number(PORT), caPath: CA, certPath: CERT, keyPath: KEY, clientId: 'gw-1' });

const waiting = new Map();
const ask = (operation, ...more) => new Promise((done) => {
  const token = thing[operation]('gw-1', ...more);
  if (token === null) return done({ status: 'not sent' });
  waiting.set(token, done);
});
thing.on('status', (name, status, token, body) => {
  if (waiting.has(token)) waiting.get(token)({ status, body });
  waiting.delete(token);
});
thing.on('timeout', (name, token) => {
  if (waiting.has(token)) waiting.get(token)({ status: 'timeout' });
});
thing.on('error', (err) => console.log('client error ' + err.message));
thing.on('delta', async (name, body) => {
  console.log('delta ' + JSON.stringify(body.state));
  const { jobID, softwareURL } = body.state;
  if (!jobID) return;
  const { status } = await ask('update', { state: { reported: { jobID, softwareURL, result: 'SUCCESS' } } });
  console.log('report ' + status);
});

thing.on('connect', () => {
  console.log('connected');
  thing.register('gw-1', {}, async (err, failed) => {
    if (err || (failed || []).some((f) => f && f.qos > 1)) return console.log('not registered ' + err + ' ' + JSON.stringify(failed));
    const missing = await ask('get');
    console.log('get ' + missing.status + ' ' + missing.body.code);
    const update = await ask('update', { state: { reported: { version: '1.0', gone: 1 } } });
    console.log('update ' + update.status + ' ' + update.body.version);
    const removed = await ask('update', { state: { reported: { gone: null } } });
    console.log('update ' + removed.status + ' ' + removed.body.version);
    const whole = await ask('get');
    console.log('get ' + whole.status + ' ' + JSON.stringify(whole.body.state));
    console.log('ready');
  });
});
process.stdin.on('end', () => thing.end(false, () => { console.log('closed'); process.exit(0); })).resume();
