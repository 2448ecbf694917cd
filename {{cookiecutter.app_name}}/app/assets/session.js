// A page whose session has ended is loaded again, which leads to the log-in and back. So is one that asks for a job which is not
// there any more, and then says so; but not at once, and for ever, where a page cannot do without it.
const SETTLED = 10000; // milliseconds that a page has been there
const fetchAsBefore = window.fetch;
window.fetch = async (...asked) => {
  const answer = await fetchAsBefore(...asked);
  const missing = answer.status === 404 && answer.url.includes("/_dash-update-component") && performance.now() > SETTLED;
  if (answer.status === 401 || missing) location.reload();
  return answer;
};
