// Seals a form to the service: HPKE (RFC 9180), base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256,
// AES-256-GCM, with WebCrypto alone. What opens it is src/crypto/hpke.rs.

const KEM = [0x00, 0x10], KDF = [0x00, 0x01], AEAD = [0x00, 0x02];
const ECDH = { name: "ECDH", namedCurve: "P-256" };
const HMAC = { name: "HMAC", hash: "SHA-256" };
const text = new TextEncoder();
const VERSION = text.encode("HPKE-v1");
const KEM_SUITE = join(text.encode("KEM"), KEM);
const SUITE = join(text.encode("HPKE"), KEM, KDF, AEAD);
const NOTHING = new Uint8Array();
// HMAC pads its key with zeros, so this is the empty salt, which not every browser imports as a key.
const NO_SALT = new Uint8Array(32);

function join(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

async function hmac(key, data) {
  const imported = await crypto.subtle.importKey("raw", key, HMAC, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, data));
}

// LabeledExtract, section 4.
function extract(suite, salt, label, ikm) {
  return hmac(salt, join(VERSION, suite, text.encode(label), ikm));
}

// LabeledExpand, section 4, for at most one block of the hash: nothing here needs more.
async function expand(suite, prk, label, info, length) {
  const labeled = join([0, length], VERSION, suite, text.encode(label), info, [1]);
  return (await hmac(prk, labeled)).slice(0, length);
}

/**
 * Seals `plaintext` to the public key (an uncompressed point). All arguments and the result are
 * Uint8Array; the result is the encapsulated key followed by the ciphertext. `pair` is for tests
 * alone: an ephemeral key pair is used once.
 */
export async function seal(publicKey, info, aad, plaintext, pair) {
  const receiver = await crypto.subtle.importKey("raw", publicKey, ECDH, false, []);
  pair ??= await crypto.subtle.generateKey(ECDH, false, ["deriveBits"]);
  const enc = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  const dh = new Uint8Array(await crypto.subtle.deriveBits(
    { name: "ECDH", public: receiver }, pair.privateKey, 256));

  // ExtractAndExpand, section 4.1.
  const prk = await extract(KEM_SUITE, NO_SALT, "eae_prk", dh);
  const shared = await expand(KEM_SUITE, prk, "shared_secret", join(enc, publicKey), 32);

  // KeySchedule, section 5.1, with mode 0 and no pre-shared key.
  const context = join(
    [0],
    await extract(SUITE, NO_SALT, "psk_id_hash", NOTHING),
    await extract(SUITE, NO_SALT, "info_hash", info));
  const secret = await extract(SUITE, shared, "secret", NOTHING);
  const key = await expand(SUITE, secret, "key", context, 32);
  const nonce = await expand(SUITE, secret, "base_nonce", context, 12);

  const aes = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"]);
  const sealed = await crypto.subtle.encrypt(
    { name: "AES-GCM", iv: nonce, additionalData: aad }, aes, plaintext);
  return join(enc, new Uint8Array(sealed));
}
