// A thing with the vendor's second SDK, over MQTT 3.1.1 or 5: shadows, classic
// and named, and jobs with their document, versions and refusals.
'use strict';
const crypto = require('crypto');
const http = require('http');
const { iot, mqtt, mqtt5, iotjobs, iotshadow } = require('aws-iot-device-sdk-v2');
const { SubscriptionStatusEventType } = require('aws-crt').mqtt_request_response;
const { once } = require('events');

const { HOST, PORT, CA, CERT, KEY, MQTT } = process.env;
const options = { maxRequestResponseSubscriptions: 10, maxStreamingSubscriptions: 5, operationTimeoutInSeconds: 20 };
const thingName = 'gw-1';

async function connect311() {
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(CERT, KEY)
    .with_certificate_authority_from_path(undefined, CA).with_clean_session(true)
    .with_client_id(thingName).with_endpoint(HOST).with_port(Number(PORT)).build();
  const client = new mqtt.MqttClient().new_connection(config);
  await client.connect();
  return {
    jobs: iotjobs.IotJobsClientv2.newFromMqtt311(client, options),
    shadow: iotshadow.IotShadowClientv2.newFromMqtt311(client, options),
    close: () => client.disconnect(),
  };
}

async function connect5() {
  const builder = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(HOST, CERT, KEY);
  builder.withCertificateAuthorityFromPath(undefined, CA).withPort(Number(PORT)).withConnectProperties({ clientId: thingName, keepAliveIntervalSeconds: 30 });
  const client = new mqtt5.Mqtt5Client(builder.build());
  client.on('connectionFailure', (e) => console.log('connection failure ' + e.error));
  const up = once(client, 'connectionSuccess');
  client.start();
  await up;
  return {
    jobs: iotjobs.IotJobsClientv2.newFromMqtt5(client, options),
    shadow: iotshadow.IotShadowClientv2.newFromMqtt5(client, options),
    close: async () => {
      const down = once(client, 'stopped');
      client.stop();
      await down;
      client.close();
    },
  };
}

// refusal says how a service answers no.
async function refusal(of, promise) {
  try {
    await promise;
    console.log(of + ' is allowed');
  } catch (err) {
    const { modeledError } = err;
    console.log(of + ' ' + (modeledError ? modeledError.code : err.message));
  }
}

const listening = (stream) => new Promise((done) => {
  stream.on('subscriptionStatus', (e) => e.type === SubscriptionStatusEventType.SubscriptionEstablished && done());
  stream.open();
});

async function shadows(shadow) {
  await refusal('no shadow', shadow.getShadow({ thingName }));
  const delta = shadow.createNamedShadowDeltaUpdatedStream({ thingName, shadowName: 'firmware' });
  delta.on('incomingPublish', (e) => console.log('named delta ' + JSON.stringify(e.message.state)));
  await listening(delta);
  const first = await shadow.updateShadow({ thingName, state: { reported: { version: '1.0' } } });
  console.log('reported, version ' + first.version);
  await refusal('old version', shadow.updateShadow({ thingName, version: 7, state: { reported: { version: '0' } } }));
  console.log('shadow ' + JSON.stringify((await shadow.getShadow({ thingName })).state));
  await shadow.updateNamedShadow({ thingName, shadowName: 'firmware', state: { desired: { channel: 'beta' }, reported: { channel: 'stable' } } });
  await shadow.deleteShadow({ thingName });
  await refusal('deleted shadow', shadow.getShadow({ thingName }));
}

const fetched = (url) => new Promise((done, fail) => {
  const hash = crypto.createHash('sha256');
  http.get(url, (from) => from.on('data', (d) => hash.update(d)).on('end', () => done(hash.digest('hex')))).on('error', fail);
});

async function work(jobs, jobId) {
  const { execution } = await jobs.startNextPendingJobExecution({ thingName, statusDetails: { step: 'start' }, stepTimeoutInMinutes: 10 });
  console.log('started ' + execution.status + ' with version ' + execution.jobDocument.version);
  await refusal('old execution', jobs.updateJobExecution({ thingName, jobId, status: 'IN_PROGRESS', expectedVersion: 77 }));
  const details = { step: 'fetched', sha256: await fetched(execution.jobDocument.url) };
  await jobs.updateJobExecution({ thingName, jobId, status: 'IN_PROGRESS', statusDetails: details, expectedVersion: execution.versionNumber });
  const now = (await jobs.describeJobExecution({ thingName, jobId, includeJobDocument: false })).execution;
  console.log('described ' + now.status + ' ' + now.statusDetails.step + ' ' + (now.statusDetails.sha256 === execution.jobDocument.sha256));
  await jobs.updateJobExecution({ thingName, jobId, status: 'SUCCEEDED', statusDetails: { step: 'done' }, expectedVersion: now.versionNumber });
  await refusal('ended execution', jobs.updateJobExecution({ thingName, jobId, status: 'FAILED' }));
}

async function main() {
  const { jobs, shadow, close } = await (MQTT === '5' ? connect5() : connect311());
  console.log('connected');
  await shadows(shadow);
  await refusal('unknown job', jobs.describeJobExecution({ thingName, jobId: 'none' }));
  const next = jobs.createNextJobExecutionChangedStream({ thingName });
  let busy = Promise.resolve();
  next.on('incomingPublish', (e) => {
    const { execution } = e.message;
    console.log('next ' + (execution.jobId || 'none'));
    if (execution.status === 'QUEUED') busy = work(jobs, execution.jobId).catch((err) => console.log('failed: ' + err));
  });
  await listening(next);
  const pending = await jobs.getPendingJobExecutions({ thingName });
  console.log('ready, ' + pending.queuedJobs.length + ' queued, ' + pending.inProgressJobs.length + ' in progress');
  process.stdin.on('end', async () => {
    await busy;
    jobs.close();
    shadow.close();
    await close();
    console.log('closed');
    process.exit(0);
  }).resume();
}

main().catch((err) => { console.log('failed: ' + err + ' ' + JSON.stringify(err.modeledError || '')); process.exit(1); });
