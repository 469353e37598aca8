"use strict";
// Asks the browser for a passkey and sends what it says with the form; it decides nothing.
(() => {
  const form = document.querySelector("form[data-options]");
  const fault = document.querySelector("[data-fault]");

  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  const known = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

  const wanted = () => {
    const options = JSON.parse(form.dataset.options);
    options.challenge = bytes(options.challenge);
    if (options.user) {
      options.user.id = bytes(options.user.id);
      options.excludeCredentials = known(options.excludeCredentials);
    } else {
      options.allowCredentials = known(options.allowCredentials);
    }
    return { publicKey: options };
  };

  const said = (credential) => {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[name]) response[name] = text(credential.response[name]);
    }
    const { id, type } = credential;
    return JSON.stringify({ id, rawId: text(credential.rawId), type, response, clientExtensionResults: {} });
  };

  const complain = (error) => {
    const texts = fault.dataset;
    const own = { SecurityError: texts.place, InvalidStateError: texts.known };
    fault.textContent = own[error.name] || texts.refused;
    fault.hidden = false;
  };

  const go = async () => {
    fault.hidden = true;
    try {
      if (!window.PublicKeyCredential) throw new DOMException("", "SecurityError");
      const made = form.dataset.kind === "create"
        ? await navigator.credentials.create(wanted())
        : await navigator.credentials.get(wanted());
      form.elements.response.value = said(made);
      form.submit();
    } catch (error) {
      complain(error);
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });
  go();
})();
