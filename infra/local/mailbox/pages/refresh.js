// Reload the list when a newer email, or none at all, is at its top.
const shown = document.querySelector("main").dataset.newest;

setInterval(async () => {
  if (document.hidden) return;
  const answer = await fetch("/_local/mails?limit=1").catch(() => null);
  if (!answer || !answer.ok) return;
  const { mails } = await answer.json();
  if ((mails[0]?.id ?? "") !== shown) location.reload();
}, 2000);
