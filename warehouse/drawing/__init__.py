"""What people see of the answers: charts, figures and reports; used by the app, the reports and the commands alone."""
