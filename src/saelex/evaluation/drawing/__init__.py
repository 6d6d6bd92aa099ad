"""Pictures in the house style and pages that need nothing else: what reports and curves are shown with."""
