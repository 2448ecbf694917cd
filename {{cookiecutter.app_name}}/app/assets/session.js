// Reload a page when its session has ended, which leads to the log-in and back. Reload it too when its job no longer exists: the
// page then says so. A page that asks for an unknown job from the start does not reload, or it would do so forever.
const SETTLED = 10000; // milliseconds after which a page may reload
const fetchAsBefore = window.fetch;
window.fetch = async (...asked) => {
  const answer = await fetchAsBefore(...asked);
  const missing = answer.status === 404 && answer.url.includes("/_dash-update-component") && performance.now() > SETTLED;
  if (answer.status === 401 || missing) location.reload();
  return answer;
};
