// Looks again while a check is under way. Without this file the page says so to the browser itself.
setTimeout(() => location.reload(), 3000);
