// Seals the form in the browser before it is sent, where the browser can. Without this file, or where
// it cannot, the same form goes over TLS alone, and the page says so.

import { seal } from "./seal.mjs";

const form = document.querySelector("form[data-key]");

function bytes(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

function base64url(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

if (form && globalThis.crypto?.subtle) {
  const way = document.getElementById("way");
  way.textContent = way.dataset.sealed;
  const button = form.querySelector("button");
  let sending = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending) return;
    sending = true;
    button.setAttribute("aria-disabled", "true");
    try {
      const filled = new URLSearchParams(new FormData(form)).toString();
      const sealed = await seal(
        bytes(form.dataset.key), bytes(form.dataset.info), bytes(form.dataset.aad),
        new TextEncoder().encode(filled));
      // A form of its own: this one keeps what was typed, for whoever comes back to it.
      const envelope = document.createElement("form");
      envelope.method = "post";
      envelope.action = form.action;
      const field = document.createElement("input");
      field.type = "hidden";
      field.name = "sealed";
      field.value = base64url(sealed);
      envelope.append(field);
      document.body.append(envelope);
      envelope.submit();
    } catch {
      // Never sent unsealed behind the back of somebody who was told otherwise.
      document.getElementById("not-sent").hidden = false;
      button.removeAttribute("aria-disabled");
      sending = false;
    }
  });
  // Back to this page from the next one: it can be sent once more.
  addEventListener("pageshow", () => {
    button.removeAttribute("aria-disabled");
    sending = false;
  });
}
