"use strict";
// What happens when the connection with the server is lost, or does not come about.

(() => {
  const alert = document.createElement("p");
  alert.id = "lost";
  alert.setAttribute("role", "alert");
  document.querySelector("main").prepend(alert);

  const begun = Date.now();
  const soon = () => 1000 + 2000 * Math.random();  // not all pages at once when a server is there again

  async function loadAgain() {
    try {
      const answer = await fetch("healthz", {cache: "no-store", signal: AbortSignal.timeout(5000)});
      if (answer.ok) {
        location.reload();  // the address tells all of the view
        return;
      }
    } catch {}
    setTimeout(loadAgain, soon());
  }

  function lose() {
    alert.textContent = "The connection with the server is lost. This page loads again, with the same view, as soon as the server answers.";
    setTimeout(loadAgain, soon());
  }

  function watch() {
    const doc = window.Bokeh && Bokeh.documents[0];
    if (doc) {
      alert.textContent = "";
      doc.on_event("connection_lost", lose);
      return;
    }
    if (Date.now() - begun > 10000) {
      alert.textContent = "The server answers, but nothing of what it sends after that arrives. Load this page again; if that does not help, a proxy between here and the server does not let websockets pass, or names another host.";
    }
    setTimeout(watch, 100);
  }
  watch();
})();
