// Several instances and a cluster of Redis, whose servers send elsewhere whoever asks the wrong one:
// the room's slot is moved, and its owner gives way to its replica, while everybody talks.

import assert from 'node:assert/strict';
import { test } from './elbow.mjs';
import { Cluster } from './redis.mjs';
import { agree, everyKind, HISTORY, instance, talk } from './room.mjs';
import { eventually, sleep } from './wait.mjs';

const name = 'a cluster: whichever server is named, and wherever the slot goes';

test(name, { timeout: 180_000 }, async (context) => {
  const cluster = await Cluster.start(context, 2);
  const [one, two] = cluster.nodes;
  const slot = await cluster.slot('elbow');
  const owner = cluster.owner(slot);
  const other = owner === one ? two : one;
  const servers = [
    await instance(context, owner.url, HISTORY),
    await instance(context, other.url, HISTORY),
  ];
  await servers[1].logged(new RegExp(`writer connected to 127\\.0\\.0\\.1:${owner.port}\\b`));
  const readers = [];
  for (const server of servers) readers.push(...(await everyKind(context, server)));
  const speakers = readers.filter((reader) => reader.say);
  const said = await talk(speakers, { ms: 500 });
  await agree(readers, said);

  /** Everybody talks while `change` happens, and somewhat longer. */
  const during = async (change) => {
    const talking = talk(speakers, { ms: 3_000 });
    await sleep(300);
    await change();
    said.push(...(await talking));
    await agree(readers, said);
  };
  await during(() => cluster.move(slot, owner, other));
  await during(() => cluster.move(slot, other, owner));
  const heir = await cluster.replica(owner);
  await during(() => heir.tell('CLUSTER', 'FAILOVER'));
  await eventually('the owner has given way', async () => {
    return (await owner.ask('INFO', 'replication')).includes('role:slave');
  });
  assert.match(await heir.ask('INFO', 'replication'), /role:master/);
  assert.match(await heir.tell('CLUSTER', 'COUNTKEYSINSLOT', `${slot}`), /^:[1-9]/);
  for (const reader of readers) {
    assert.deepEqual([reader.ends, reader.gaps], [0, []], `${reader.name}: nobody has lost anything`);
  }
});
