// The browser's side of sealing, without a browser: seals each vector of tests/vectors/hpke.json
// with the key pair that the vector was made with, and compares. Ends with 1 if anything differs.
//
//   node tests/node/seal.mjs            compares
//   node tests/node/seal.mjs make HEX   a new vector to the public key HEX, as JSON

import { readFileSync } from "node:fs";
import { webcrypto } from "node:crypto";

// Node.js 18 does not have it as a global.
globalThis.crypto ??= webcrypto;
const { seal } = await import("../../src/http/pages/assets/seal.mjs");

const CURVE = { name: "ECDH", namedCurve: "P-256" };
const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const base64url = (bytes) => Buffer.from(bytes).toString("base64url");

async function pairOf(privateHex, publicHex) {
  const point = bytes(publicHex);
  const jwk = {
    kty: "EC", crv: "P-256", ext: true,
    x: base64url(point.slice(1, 33)), y: base64url(point.slice(33)),
  };
  return {
    publicKey: await crypto.subtle.importKey("jwk", jwk, CURVE, true, []),
    privateKey: await crypto.subtle.importKey(
      "jwk", { ...jwk, d: base64url(bytes(privateHex)) }, CURVE, true, ["deriveBits"]),
  };
}

if (process.argv[2] === "make") {
  const pair = await crypto.subtle.generateKey(CURVE, true, ["deriveBits"]);
  const jwk = await crypto.subtle.exportKey("jwk", pair.privateKey);
  const [info, aad, plaintext] = process.argv.slice(4).map(bytes);
  const sealed = await seal(bytes(process.argv[3]), info, aad, plaintext, pair);
  console.log(JSON.stringify({
    ephemeral: hex(Buffer.from(jwk.d, "base64url")), sealed: hex(sealed),
  }));
} else {
  const file = new URL("../vectors/hpke.json", import.meta.url);
  const { vectors } = JSON.parse(readFileSync(file, "utf8"));
  let wrong = 0;
  for (const vector of vectors) {
    const enc = vector.sealed.slice(0, 130);
    const sealed = await seal(
      bytes(vector.public), bytes(vector.info), bytes(vector.aad), bytes(vector.plaintext),
      await pairOf(vector.ephemeral, enc));
    if (hex(sealed) !== vector.sealed) {
      wrong += 1;
      console.error(`differs: ${vector.about}`);
    }
    const [one, other] = await Promise.all([0, 1].map(() => seal(
      bytes(vector.public), bytes(vector.info), bytes(vector.aad), bytes(vector.plaintext))));
    if (hex(one.slice(0, 65)) === hex(other.slice(0, 65))) {
      wrong += 1;
      console.error(`two forms have one ephemeral key: ${vector.about}`);
    }
  }
  console.log(`${vectors.length} vectors, ${wrong} wrong`);
  process.exit(vectors.length > 0 && wrong === 0 ? 0 : 1);
}
